"""Checkpoints that a kill cut short, what a resumed run changes, and how they are written."""

from __future__ import annotations

import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook

from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.saving import find_latest_checkpoint
from tests.adapters_mmagic.recipes import sapd_config, stock_config
from tests.adapters_mmagic.test_model import trained
from tests.networks import assert_equal_states
from tests.recipes import DELETE
from tests.stress import kill_saves

pytestmark = pytest.mark.usefixtures('without_ceremony')
EACH = {'default_hooks:checkpoint:interval': 1}


@pytest.fixture(scope='module')
def saved(pairs: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work_dir in which a run has saved four checkpoints."""
    folder = tmp_path_factory.mktemp('saved') / 'work'
    trained(sapd_config(pairs, store, **EACH), folder)
    return folder


def cut(file: Path) -> Path:
    file.write_bytes(file.read_bytes()[:-100])
    return file


@pytest.mark.parametrize('note', ['work/iter_4.pth', 'work/iter_9.pth', 'moved/iter_4.pth', '', None])
def test_the_newest_whole_checkpoint_is_found(saved, tmp_path, note):
    work = shutil.copytree(saved, tmp_path / 'work')
    last = work / 'last_checkpoint'
    last.unlink() if note is None else last.write_text(str(tmp_path / note) if note else '')
    assert find_latest_checkpoint(str(work)) == str(work / 'iter_4.pth')
    cut(work / 'iter_4.pth')
    (work / 'iter_3.pth').write_bytes(b'')
    assert find_latest_checkpoint(str(work)) == str(work / 'iter_2.pth')


def test_names_and_places_of_a_user_are_followed(saved, tmp_path):
    elsewhere = tmp_path / 'checkpoints'
    elsewhere.mkdir()
    for number in (2, 10):
        shutil.copy(saved / 'iter_2.pth', elsewhere / f'mine-v1-{number}.pth')
    (tmp_path / 'last_checkpoint').write_text(str(cut(elsewhere / 'mine-v1-10.pth')))
    assert find_latest_checkpoint(str(tmp_path)) == str(elsewhere / 'mine-v1-2.pth')
    (tmp_path / 'last_checkpoint').write_text('s3://bucket/iter_2.pth')
    assert find_latest_checkpoint(str(tmp_path)) == 's3://bucket/iter_2.pth'
    assert find_latest_checkpoint(str(tmp_path / 'absent')) is None


def test_a_run_resumes_from_it_and_says_so(pairs, store, saved, tmp_path, capfd):
    work = shutil.copytree(saved, tmp_path / 'work')
    (work / 'last_checkpoint').write_text(str(cut(work / 'iter_4.pth')))
    (work / '.iter_5.pth.draft').write_bytes(b'half')
    runner = trained(sapd_config(pairs, store, **EACH, **{'train_cfg:max_iters': 5}), work, resume=True)
    log = next(iter(work.glob(f'{runner.timestamp}/*.log'))).read_text()
    assert 'iter_4.pth is skipped' in log
    assert 'resumed epoch: 0, iter: 3' in log
    assert not (work / '.iter_5.pth.draft').exists()


def test_a_named_checkpoint_that_is_not_whole_is_refused_by_name(pairs, store, saved, tmp_path):
    work = shutil.copytree(saved, tmp_path / 'work')
    named = cut(work / 'iter_4.pth')
    (work / 'last_checkpoint').write_text(str(named))
    message = rf'load_from: {named} was not written to its end.* The newest whole one is {work / "iter_3.pth"}'
    with pytest.raises(SAPDError, match=message):
        trained(sapd_config(pairs, store), tmp_path / 'other', load_from=str(named), resume=True)


def test_load_from_may_be_at_home(pairs, store, saved, tmp_path, monkeypatch):
    monkeypatch.setenv('HOME', str(saved))
    config = sapd_config(pairs, store, **{'train_cfg:max_iters': 5})
    runner = trained(config, tmp_path / 'work', load_from='~/iter_4.pth', resume=True)
    assert 'resumed epoch: 0, iter: 4' in next(iter((tmp_path / 'work').glob(f'{runner.timestamp}/*.log'))).read_text()


def test_a_second_stage_resumes_itself_and_not_its_student(pairs, store, tmp_path):
    trained(stock_config(pairs, **EACH), tmp_path / 'stock')
    config = sapd_config(pairs, store, **EACH, **{'model:stage': 'two_stage'})
    start = {'load_from': str(tmp_path / 'stock/iter_4.pth'), 'resume': True}
    # Nothing to resume yet: --resume is given always, as by a script that restarts.
    whole = trained(config, tmp_path / 'work', **start)
    (tmp_path / 'work/last_checkpoint').write_text(str(tmp_path / 'work/iter_2.pth'))
    for number in (3, 4):
        (tmp_path / f'work/iter_{number}.pth').unlink()
    resumed = trained(config, tmp_path / 'work', **start)
    assert 'resumed epoch: 0, iter: 2' in next(iter((tmp_path / 'work').glob(f'{resumed.timestamp}/*.log'))).read_text()
    assert_equal_states(whole.model, resumed.model)


def test_what_a_resumed_run_changes_is_named(pairs, store, saved, tmp_path):
    work = shutil.copytree(saved, tmp_path / 'work')
    changes = {
        'randomness': {'seed': 6},
        'train_dataloader:dataset:mask_shuffle': 1,
        'train_dataloader:dataset:pipeline:6:gt_patch_size': 40,
        'model:spd_loss:loss_weight': 0.25,
        'model:network_spf:mask_dropout': 0.5,
        'model:pixel_loss:loss_weight': DELETE,
        'train_cfg:max_iters': 5,
        'default_hooks:logger:interval': 2,
    }
    runner = trained(sapd_config(pairs, store, **changes), work, load_from=str(work / 'iter_4.pth'), resume=True)
    log = next(iter(work.glob(f'{runner.timestamp}/*.log'))).read_text()
    found = [line.strip() for line in log.partition('different settings')[2].splitlines()[1:7]]
    assert sorted(found) == [
        'model.network_spf.mask_dropout: 0 -> 0.5',
        'model.pixel_loss.loss_weight: 1.0 -> absent',
        'model.spd_loss.loss_weight: 0.5 -> 0.25',
        'randomness.seed: 5 -> 6',
        'train_dataloader.dataset.mask_shuffle: absent -> 1',
        'train_dataloader.dataset.pipeline[6].gt_patch_size: 48 -> 40',
    ]


def test_a_run_that_changes_nothing_names_nothing(pairs, store, saved, tmp_path):
    work = shutil.copytree(saved, tmp_path / 'work')
    config = sapd_config(pairs, store, **EACH, **{'train_cfg:max_iters': 5})
    runner = trained(config, work, load_from=str(work / 'iter_4.pth'), resume=True)
    assert 'different settings' not in next(iter(work.glob(f'{runner.timestamp}/*.log'))).read_text()


def test_a_full_disk_keeps_the_earlier_file_and_leaves_no_draft(tmp_path):
    path, limit = tmp_path / 'a.pth', resource.getrlimit(resource.RLIMIT_FSIZE)
    LocalBackend().put(b'first', path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limit[1]))
    try:
        with pytest.raises(OSError, match='File too large'):
            LocalBackend().put(bytes(100_000), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert path.read_bytes() == b'first'
    assert [each.name for each in tmp_path.iterdir()] == ['a.pth']


def test_an_old_checkpoint_is_deleted_after_the_new_one_is_saved(pairs, store, tmp_path, monkeypatch):
    """With one that is kept, a kill in between would otherwise leave none."""
    there: list[list[str]] = []
    put = LocalBackend.put

    def put_and_look(self: Any, obj: bytes, filepath: Any) -> None:
        put(self, obj, filepath)
        there.append(sorted(path.name for path in Path(filepath).parent.glob('*.pth')))

    monkeypatch.setattr(LocalBackend, 'put', put_and_look)
    kept = {'default_hooks:checkpoint:max_keep_ckpts': 1, 'default_hooks:checkpoint:save_best': 'PSNR'}
    kept |= {'default_hooks:checkpoint:rule': 'greater', 'train_cfg:val_interval': 2}
    trained(sapd_config(pairs, store, **EACH, **kept), tmp_path / 'work')
    steps = [names for names in there if not any('best' in name for name in names)]
    assert steps == [['iter_1.pth'], ['iter_1.pth', 'iter_2.pth']]
    left = sorted(path.name for path in (tmp_path / 'work').glob('*.pth'))
    assert left[-1] == 'iter_4.pth'
    assert len(left) == 2
    assert left[0].startswith('best_PSNR')
    assert CheckpointHook._save_checkpoint_with_step.__wrapped__


@pytest.mark.slow
def test_kills_during_saves_lose_nothing(tmp_path):
    assert kill_saves.run('mmagic', tmp_path, kills=3, iterations=6, seed=1) == []
