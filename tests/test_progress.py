"""Progress of a training: the frameworks say how many iterations are finished, in a file and not in their text."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from sapd_plugin import progress
from sapd_plugin.progress import Bar, ProgressFile, read_progress


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


def shown(bar: Callable[..., None], terminal: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The states that a bar shows while a clock of its own passes the seconds that ``bar(wait)`` waits."""
    clock, stream = [1000.0], io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, 'stderr', stream)
    monkeypatch.setattr('tqdm.std.time', lambda: clock[0])

    def wait(seconds: float) -> None:
        clock[0] += seconds

    bar(wait)
    return [re.sub(r'\|.*\|', '|', state.strip()) for state in re.split('[\r\n]', stream.getvalue()) if state.strip()]


def test_lines_of_a_bar_in_a_log_come_at_once_and_then_less_and_less_often(monkeypatch):
    def bar(wait):
        for _ in Bar(range(200), 'masks', unit='image'):
            wait(1)

    lines = shown(bar, False, monkeypatch)
    assert [int(re.search(r'(\d+)/200', line)[1]) for line in lines] == [0, 1, 3, 7, 15, 31, 61, 91, 121, 151, 181, 200]
    assert lines[0] == 'masks:   0%| 0/200 [00:00<?, ?image/s]'
    assert lines[1] == 'masks:   0%| 1/200 [00:01<03:19,  1.00image/s]'


def test_a_bar_on_a_terminal_moves_five_times_a_second(monkeypatch):
    def bar(wait):
        for _ in Bar(range(100), 'masks'):
            wait(0.02)

    states = [int(re.search(r'(\d+)/100', state)[1]) for state in shown(bar, True, monkeypatch)]
    assert len(states) in (11, 12)
    assert (states[0], states[-1]) == (0, 100)


def test_what_was_finished_before_is_not_part_of_the_time_left(monkeypatch):
    def bar(wait):
        with Bar(total=1000, desc='train') as found:
            wait(20)  # the program starts
            found.reach(900)
            wait(10)
            found.reach(910)
            wait(10)
            found.reach(905)

    lines = shown(bar, False, monkeypatch)
    assert lines[:3] == [
        'train:   0%| 0/1000 [00:00<?, ?it/s]',
        'train:  90%| 900/1000 [00:00<?, ?it/s]',
        'train:  91%| 910/1000 [00:10<01:30,  1.00it/s]',
    ]
    assert '910/1000 [00:20' in lines[-1]


def test_a_step_is_shown_when_it_begins(monkeypatch):
    def bar(wait):
        with Bar(total=2, desc='check', leave=False) as found:
            found.say('wiring')
            found.update()
            found.say('images')
            wait(9)
            found.update()

    lines = shown(bar, False, monkeypatch)
    assert [line.rsplit('it/s')[-1].rsplit('it')[-1] for line in lines] == [']', ', wiring]', ', images]', ', images]']
    assert '2/2' in lines[-1]


def test_basicsr_reports_restored_images(file, monkeypatch):
    test = pytest.importorskip('basicsr.test')
    from sapd_plugin.basicsr.test import report_progress

    restored = []
    monkeypatch.setattr(test, 'build_model', lambda opt: SimpleNamespace(test=lambda: restored.append(1)))
    report_progress(file)
    model = test.build_model({'rank': 0})
    for _ in range(3):
        model.test()
    assert len(restored) == read_progress(file.path) == 3


def test_mmagic_reports_restored_images(file, monkeypatch):
    runner = pytest.importorskip('mmengine.runner').Runner
    from sapd_plugin.mmagic.test import report_progress

    hooks = []
    monkeypatch.setattr(runner, 'test', lambda self: 'tested')
    report_progress(file)
    assert runner.test(SimpleNamespace(register_hook=hooks.append)) == 'tested'
    for batch in ([1, 2], [3]):
        hooks[0].after_test_iter(SimpleNamespace(rank=0), 0, None, batch)
    assert read_progress(file.path) == 3
