"""States of BasicSR that a kill or a full disk cut short, that older versions saved, and what a resumed run changes."""

from __future__ import annotations

import os
import re
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from sapd_plugin.basicsr import SAPDMixin, train
from tests.adapters_basicsr.recipes import run_here, sapd_options, stock_options
from tests.networks import assert_equal_states
from tests.photos import make_store
from tests.recipes import DELETE, update
from tests.stress import kill_saves

SAVED = {'logger:save_checkpoint_freq': 1, 'train:total_iter': 3}
FILES = (
    'training_states/3.state',
    'training_states/3.sapd.rank0',
    'models/net_g_3.pth',
    'models/net_spf_3.pth',
)


@pytest.fixture(scope='module')
def saved(pairs: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a run has saved three states."""
    folder = tmp_path_factory.mktemp('saved')
    run_here(train.main, sapd_options(pairs, store, **SAVED), folder)
    return folder


def resumed(opt: dict[str, Any], folder: Path, capsys: Any, *extra: str) -> tuple[str, str]:
    """Resume until the fifth iteration; returns the log and what was printed."""
    log = run_here(train.main, update(opt, {'train:total_iter': 5}), folder, *extra)
    return log, capsys.readouterr().out


@pytest.mark.parametrize(
    ('file', 'how'), [*((file, 'cut short') for file in FILES), *((f, 'absent') for f in FILES[1:])]
)
def test_the_newest_whole_state_is_resumed(pairs, store, saved, tmp_path, capsys, file, how):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    damaged = tmp_path / 'experiments/sapd' / file
    damaged.write_bytes(damaged.read_bytes()[:-100]) if how == 'cut short' else damaged.unlink()
    draft = damaged.with_name(f'.{damaged.name}.draft')
    draft.write_bytes(b'half')
    log, printed = resumed(sapd_options(pairs, store, **SAVED), tmp_path, capsys, '--auto_resume')
    assert 'Resuming training from epoch: 0, iter: 2.' in log
    problem = 'was not written to its end' if how == 'cut short' else 'is missing'
    assert f'3.state is skipped: {damaged} {problem}.' in printed
    assert not draft.exists()
    assert damaged.is_file()  # saved again


def test_a_named_state_that_is_not_whole_is_refused_by_name(pairs, store, saved, tmp_path, capsys):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    damaged = tmp_path / 'experiments/sapd/models/net_spf_3.pth'
    damaged.write_bytes(damaged.read_bytes()[:-100])
    state = tmp_path / 'experiments/sapd/training_states/3.state'
    with pytest.raises(SystemExit):
        resumed(sapd_options(pairs, store, **SAVED, **{'path:resume_state': str(state)}), tmp_path, capsys)
    message = (
        f'error: path.resume_state: {state} is not whole: {damaged} was not written to its end, expected all files of a '
        f'save. The newest whole state is {state.with_name("2.state")}.\n'
    )
    assert capsys.readouterr().err.endswith(message)


FOREIGN = {
    'a list': lambda state: [1, 2],
    'nothing': lambda state: {},
    'text for numbers': lambda state: dict.fromkeys(state, 'x'),
    'None': lambda state: dict.fromkeys(state),
}


@pytest.mark.parametrize('file', ['3.state', '3.sapd.rank0'])
@pytest.mark.parametrize('content', FOREIGN)
def test_a_state_of_other_content_is_refused_by_name(pairs, store, saved, tmp_path, capsys, file, content):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    path = tmp_path / 'experiments/sapd/training_states' / file
    state = torch.load(path)
    kept = {key: state[key] for key in ('mask_fingerprint', 'options') if key in state}
    changed = FOREIGN[content](state)
    if isinstance(changed, dict) and changed:
        changed.update(kept)
    torch.save(changed, path)
    with pytest.raises(SystemExit):
        resumed(sapd_options(pairs, store, **SAVED), tmp_path, capsys, '--auto_resume')
    assert re.search(rf'error: path.resume_state: .*{file} is (damaged|not a training state)', capsys.readouterr().err)


def test_without_a_whole_state_a_run_starts_again(pairs, store, tmp_path, capsys):
    opt = sapd_options(pairs, store, **SAVED)
    folder = tmp_path / 'experiments/sapd/training_states'
    folder.mkdir(parents=True)
    (folder / '1.state').write_bytes(b'')
    log, printed = resumed(opt, tmp_path, capsys, '--auto_resume')
    assert '1.state is skipped' in printed
    assert 'Start training from epoch: 0, iter: 0' in log


def test_a_stock_run_resumes_its_newest_whole_state_too(pairs, tmp_path, capsys):
    opt = stock_options(pairs, **SAVED)
    run_here(train.main, opt, tmp_path)
    (tmp_path / 'experiments/stock/training_states/3.state').write_bytes(b'PK')
    log, _ = resumed(opt, tmp_path, capsys, '--auto_resume')
    assert 'Resuming training from epoch: 1, iter: 2.' in log or 'Resuming training from epoch: 0, iter: 2.' in log


def test_states_of_earlier_versions_are_resumed(pairs, store, saved, tmp_path, capsys):
    """They hold neither options nor a position, and the position is said to be lost."""
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    file = tmp_path / 'experiments/sapd/training_states/3.sapd.rank0'
    state = torch.load(file, weights_only=True)
    names = ('torch', 'cuda', 'numpy', 'python', 'mask_fingerprint', 'scaler')
    torch.save({name: state[name] for name in names}, file)
    log, _ = resumed(sapd_options(pairs, store, **SAVED), tmp_path, capsys, '--auto_resume')
    assert 'Resuming training from epoch: 1, iter: 3.' in log
    assert 'starts its epoch again' in log
    assert 'saved by an earlier version' in log
    assert 'settings' not in log


@pytest.mark.parametrize(
    ('changes', 'named'),
    [
        ({}, []),
        ({'name': 'sapd', 'val:val_freq': 7, 'logger:print_freq': 2}, []),
        (
            {
                'manual_seed': 4,
                'datasets:train:mask_shuffle': 1,
                'datasets:train:gt_size': 40,
                'train:spd_opt:loss_weight': 0.25,
                'train:pixel_opt:loss_weight': 2.0,
                'network_spf:mask_dropout': 0.5,
                'train:ema_decay': DELETE,
            },
            [
                'manual_seed: 3 -> 4',
                'datasets.train.mask_shuffle: absent -> 1',
                'datasets.train.gt_size: 48 -> 40',
                'train.spd_opt.loss_weight: 0.5 -> 0.25',
                'train.pixel_opt.loss_weight: 1.0 -> 2.0',
                'network_spf.mask_dropout: 0 -> 0.5',
                'train.ema_decay: 0.9 -> absent',
            ],
        ),
    ],
)
def test_what_a_resumed_run_changes_is_named(pairs, store, saved, tmp_path, capsys, changes, named):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    log, _ = resumed(sapd_options(pairs, store, **SAVED, **changes), tmp_path, capsys, '--auto_resume')
    assert ('different settings' in log) == bool(named)
    found = log.partition('different settings')[2].splitlines()[1:]
    assert sorted(line.strip() for line in found[: len(named)]) == sorted(named)
    assert not named or ' -> ' not in found[len(named)]


def test_a_run_without_a_seed_keeps_the_one_that_was_drawn(pairs, store, tmp_path, capsys):
    opt = sapd_options(pairs, store, **SAVED, manual_seed=None)
    first = run_here(train.main, opt, tmp_path)
    second, _ = resumed(opt, tmp_path, capsys, '--auto_resume')
    seeds = [next(line for line in log.splitlines() if 'manual_seed: ' in line) for log in (first, second)]
    assert seeds[0] == seeds[1]
    assert 'different settings' not in second


def test_a_store_may_be_at_home_and_may_move(pairs, store, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(tmp_path))
    shutil.copytree(store, tmp_path / 'masks')
    opt = sapd_options(pairs, Path('~/masks'), **SAVED, **{'datasets:train:num_worker_per_gpu': 0})
    write, moved = torch.save, []

    def move_and_save(*args: Any, **kwargs: Any) -> None:
        if not moved:
            (tmp_path / 'masks').rename(tmp_path / 'moved')
            moved.append(True)
        write(*args, **kwargs)

    monkeypatch.setattr(torch, 'save', move_and_save)
    run_here(train.main, opt, tmp_path)
    state = torch.load(tmp_path / 'experiments/sapd/training_states/3.sapd.rank0', weights_only=True)
    assert len(state['mask_fingerprint']) == 32


def test_a_full_disk_is_a_warning_and_leaves_no_half_files(pairs, store, tmp_path, monkeypatch):
    """Of the second save; the third one has room again, and the run resumes from it."""
    monkeypatch.setattr('time.sleep', lambda seconds: None)  # BasicSR waits between its attempts
    save, limit = SAPDMixin.save, resource.getrlimit(resource.RLIMIT_FSIZE)

    def save_without_room(self: Any, epoch: int, current_iter: int) -> None:
        if current_iter == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limit[1]))
        try:
            save(self, epoch, current_iter)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limit)

    monkeypatch.setattr(SAPDMixin, 'save', save_without_room)
    log = run_here(train.main, sapd_options(pairs, store, **SAVED), tmp_path)
    assert '2.sapd.rank0 cannot be saved ([Errno 27] File too large): training continues' in log
    assert 'Still cannot save' in log
    folder = tmp_path / 'experiments/sapd'
    names = sorted(os.listdir(folder / 'models') + os.listdir(folder / 'training_states'))
    expected = [f'{k}.{kind}' for k in (1, 3) for kind in ('sapd.rank0', 'state')]
    expected += [f'net_{net}_{k}.pth' for net in ('g', 'spf') for k in (1, 3, 'latest')]
    assert names == sorted(expected)


def test_a_second_stage_resumes_without_the_student_that_it_started_from(pairs, store, tmp_path, capsys):
    run_here(train.main, stock_options(pairs, **SAVED), tmp_path)
    student = tmp_path / 'experiments/stock/models/net_g_3.pth'
    changes = {'path:pretrain_network_g': str(student), 'train:sapd_opt:stage': 'two_stage'}
    opt = sapd_options(pairs, store, **SAVED, **changes)
    run_here(train.main, opt, tmp_path)
    student.unlink()
    log, _ = resumed(opt, tmp_path, capsys, '--auto_resume')
    assert 'Resuming training from epoch: 1, iter: 3.' in log


def test_masks_of_a_different_fingerprint_are_refused_before_anything_is_built(pairs, store, saved, tmp_path, capsys):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    other = make_store(tmp_path / 'other', pairs / 'clean', settings={'segmenter': 'another'})
    with pytest.raises(SystemExit):
        resumed(sapd_options(pairs, other, **SAVED), tmp_path, capsys, '--auto_resume')
    assert 'error: datasets.train.mask_store: its fingerprint is' in capsys.readouterr().err


@pytest.mark.slow
def test_kills_during_saves_lose_nothing(tmp_path):
    assert kill_saves.run('basicsr', tmp_path, kills=4, iterations=8, seed=1) == []


def test_weights_of_parts_equal_those_of_a_whole_run(pairs, store, saved, tmp_path, capsys):
    shutil.copytree(saved, tmp_path, dirs_exist_ok=True)
    resumed(sapd_options(pairs, store, **SAVED), tmp_path, capsys, '--auto_resume')
    opt = sapd_options(pairs, store, name='whole', **{**SAVED, 'train:total_iter': 5})
    run_here(train.main, opt, tmp_path)
    for net in ('g', 'spf'):
        parts, whole = (
            torch.load(tmp_path / f'experiments/{name}/models/net_{net}_5.pth', weights_only=True)
            for name in ('sapd', 'whole')
        )
        assert_equal_states(parts, whole)
