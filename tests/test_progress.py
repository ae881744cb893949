"""Progress of a training: the frameworks say how many iterations are finished, in a file and not in their text."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from sapd_plugin import progress
from sapd_plugin.progress import ProgressFile, read_progress


@pytest.fixture
def file(tmp_path, monkeypatch) -> ProgressFile:
    monkeypatch.setattr(progress, '_INTERVAL', 0.0)
    return ProgressFile(tmp_path / 'progress')


def test_a_file_is_written_at_most_every_half_second(tmp_path):
    file = ProgressFile(tmp_path / 'progress')
    assert read_progress(file.path) is None
    file.write(3)
    file.write(4)
    assert read_progress(file.path) == 3


def test_a_folder_that_is_absent_does_not_stop_the_training(tmp_path):
    ProgressFile(tmp_path / 'absent/progress').write(3)
    assert not (tmp_path / 'absent').exists()


def test_the_file_is_named_by_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv(progress.VARIABLE, raising=False)
    assert ProgressFile.from_environment() is None
    monkeypatch.setenv(progress.VARIABLE, str(tmp_path / 'x'))
    assert ProgressFile.from_environment().path == tmp_path / 'x'


@pytest.mark.parametrize(('rank', 'written'), [(0, 7), (1, None)])
def test_basicsr_reports_finished_iterations(file, monkeypatch, rank, written):
    train = pytest.importorskip('basicsr.train')
    from sapd_plugin.basicsr.train import report_progress

    seen = []
    model = SimpleNamespace(update_learning_rate=lambda iteration, warmup_iter: seen.append((iteration, warmup_iter)))
    monkeypatch.setattr(train, 'build_model', lambda opt: model)
    report_progress(file)
    train.build_model({'rank': rank}).update_learning_rate(8, warmup_iter=3)
    assert seen == [(8, 3)]
    assert read_progress(file.path) == written


@pytest.mark.parametrize(('rank', 'written'), [(0, 8), (1, None)])
def test_mmagic_reports_finished_iterations(file, monkeypatch, rank, written):
    runner = pytest.importorskip('mmengine.runner').Runner
    from sapd_plugin.mmagic.train import report_progress

    hooks = []
    monkeypatch.setattr(runner, 'train', lambda self: 'trained')
    report_progress(file)
    assert runner.train(SimpleNamespace(register_hook=hooks.append)) == 'trained'
    hooks[0].after_train_iter(SimpleNamespace(rank=rank, iter=7), 0)
    assert read_progress(file.path) == written
