"""`sapd reproduce` through the frameworks' own tools: cells are run, resumed, shared, reported; mistakes come first."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import threading
import time
import zipfile
from pathlib import Path

import pytest
import torch

from sapd_plugin.cli import reproduce
from sapd_plugin.experiments import plan
from sapd_plugin.experiments.plan import load_framework
from sapd_plugin.experiments.tasks import TrainTask, read_published
from tests.experiments.recipes import TABLE, Note, definitions
from tests.photos import make_pairs, make_store

CELLS = {'basicsr': 'RCAN', 'mmagic': 'Restormer'}


@pytest.fixture
def data(tmp_path) -> Path:
    """Rain13K's folders with parts of six pairs."""
    folder, pairs = tmp_path / 'datasets', make_pairs(tmp_path / 'pairs', 6, (160, 160))
    for kind, ours in (('rainy', 'input'), ('clean', 'target')):
        for number, path in enumerate(sorted((pairs / kind).iterdir())):
            target = folder / 'Rain13K' / ('train' if number < 4 else 'test/Rain100L') / ours / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    return folder


def arguments(data: Path, tmp_path: Path, *extra: str) -> list[str]:
    tables = definitions(tmp_path / 'definitions')
    common = ['--definitions', str(tables), '--output', str(tmp_path / 'runs'), '--data', str(data)]
    return [*common, '--segmenter', 'felzenszwalb', '--batch', '2', *extra]


def call(capsys: pytest.CaptureFixture, *command: str) -> tuple[int, str]:
    """The tool in this process: exit status, and what it printed."""
    status = reproduce.main(command)
    printed = capsys.readouterr()
    return status, printed.out + printed.err


def results(tmp_path: Path, framework: str, arm: str) -> dict:
    path = tmp_path / 'runs' / framework / 'trial' / CELLS[framework] / 'tiny' / arm / '0/results.json'
    return json.loads(path.read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ('framework', 'arms', 'masks'), [('basicsr', ['stock', 'spd_sgr'], 'restored'), ('mmagic', ['spd_sgr'], 'target')]
)
def test_cells_run_once_and_are_reported(framework, arms, masks, data, vgg_weights, tmp_path, capsys):
    cells = [f'{CELLS[framework]}/tiny/{arm}/0' for arm in arms]
    command = ['run', 'trial', *cells, '--framework', framework, '--masks-of', masks, '--iterations', '4']
    command += arguments(data, tmp_path, '--vgg-checkpoint', str(vgg_weights))
    status, printed = call(capsys, *command)
    assert status == 0, printed[-4000:]
    for arm in arms:
        found = results(tmp_path, framework, arm)
        assert found['training']['iterations'] == 4
        assert found['training']['finished']
        assert not found['training']['as_published']
        assert 10 < found['tests']['Rain100L']['psnr'] < 40
        assert found['tests']['Rain100L']['images'] == 2
        assert found['cost']['macs'] > 1e6
        folder = tmp_path / 'runs' / framework / 'trial' / CELLS[framework] / f'tiny/{arm}/0'
        curve = load_framework(framework).read_log(folder, f'trial_{CELLS[framework]}_tiny_{arm}_0').curve
        iteration, psnr = max(curve.items())
        assert iteration == 4
        assert psnr == pytest.approx(found['tests']['Rain100L']['psnr'], abs=1e-3)  # the last one is what is tested
    training = results(tmp_path, framework, 'spd_sgr')['training']
    assert training['masks'] == f'felzenszwalb, {masks}'
    logged = training['logged']
    assert logged['steps'] >= 1
    assert {'l_spf', 'l_spd', 'l_sgr'} < {key for key in logged if key.startswith('l_')}
    assert all(math.isfinite(value) for value in logged.values())
    assert 5 < logged['psnr_restored'] < 50

    status, printed = call(capsys, *command)  # every task is done: nothing is started
    assert status == 0
    assert len(printed.splitlines()) == 3 * len(arms) + 1  # and masks
    assert all(line.endswith(': done') for line in printed.splitlines())

    status, printed = call(capsys, *[word if word != '4' else '5' for word in command])
    assert status == 2
    assert 'holds a run with different settings' in printed

    status, printed = call(capsys, 'report', 'trial', *arguments(data, tmp_path)[:4])
    assert status == 0, printed
    text = (tmp_path / f'runs/reports/trial_{framework}.md').read_text()
    for arm in arms:
        assert f'{results(tmp_path, framework, arm)["tests"]["Rain100L"]["psnr"]:.2f}' in text
    assert (tmp_path / f'runs/reports/trial_{framework}_{CELLS[framework]}_tiny_curves.png').is_file()


@pytest.mark.slow
@pytest.mark.parametrize('framework', CELLS)
def test_a_stopped_run_goes_on(framework, data, tmp_path, capsys, monkeypatch):
    for name in ('TestTask', 'CostTask'):
        monkeypatch.setattr(plan, name, lambda *_: Note('nothing', tmp_path, tmp_path / 'log'))
    command = ['run', 'trial', f'{CELLS[framework]}/tiny/stock/0', '--framework', framework]
    command += arguments(data, tmp_path, '--iterations', '40')
    cell = tmp_path / 'runs' / framework / 'trial' / CELLS[framework] / 'tiny/stock/0'
    saved = 'experiments/*/training_states/*.state' if framework == 'basicsr' else 'work/last_checkpoint'

    def is_saved() -> bool:
        """BasicSR writes a state in place, so there may be half of one; MMEngine's note follows the whole checkpoint."""
        return any(framework == 'mmagic' or zipfile.is_zipfile(path) for path in cell.glob(saved))

    def interrupt_when_saved() -> None:
        deadline = time.monotonic() + 300
        while not is_saved() and time.monotonic() < deadline:
            time.sleep(0.05)
        os.kill(os.getpid(), signal.SIGINT if framework == 'basicsr' else signal.SIGTERM)

    watcher = threading.Thread(target=interrupt_when_saved)
    watcher.start()
    status, printed = call(capsys, *command)
    watcher.join()
    assert status == 130, printed
    assert 'Finished work is kept' in printed
    stopped = json.loads((cell / 'results.json').read_text())['training']
    assert not stopped['finished']

    status, printed = call(capsys, *command)
    assert status == 0, printed[-4000:]
    assert re.search(r'Resuming training from epoch|resumed epoch: \d+, iter: \d+', (cell / 'train.txt').read_text())
    after = json.loads((cell / 'results.json').read_text())['training']
    assert after['finished']
    assert after['seconds'] > stopped['seconds']


@pytest.mark.slow
def test_a_training_that_outlives_its_starter_is_stored_as_any_other(data, tmp_path, capsys, monkeypatch):
    for name in ('TestTask', 'CostTask'):
        monkeypatch.setattr(plan, name, lambda *_: Note('nothing', tmp_path, tmp_path / 'log'))
    command = ['run', 'trial', 'RCAN/tiny/stock/0', '--framework', 'basicsr']
    command += arguments(data, tmp_path, '--iterations', '2')
    cell = tmp_path / 'runs/basicsr/trial/RCAN/tiny/stock/0'
    with monkeypatch.context() as killed:  # the starter, before it stored anything
        killed.setattr(TrainTask, '_keep', lambda *_: None)
        assert call(capsys, *command)[0] == 0
    assert not (cell / 'results.json').exists()
    assert call(capsys, *command)[0] == 0
    training = json.loads((cell / 'results.json').read_text())['training']
    assert (training['iterations'], training['as_published'], training['finished']) == (2, False, True)
    assert 'seconds' not in training


def test_a_dry_run_prints_the_frameworks_own_commands_and_writes_nothing(data, tmp_path, capsys):
    command = ['run', 'trial', 'RCAN/tiny/shuffled/0', '--framework', 'basicsr', *arguments(data, tmp_path)]
    status, shown = call(capsys, *command, '--dry-run', '--gpus', '2')
    assert status == 0, shown
    assert not (tmp_path / 'runs').exists()
    titles = re.findall(r'^# (.*)$', shown, re.MULTILINE)
    assert titles == [
        'train RCAN/tiny/stock/0',
        'masks RCAN-tiny',
        'train RCAN/tiny/shuffled/0',
        'test RCAN/tiny/shuffled/0 on Rain100L',
        'cost RCAN/tiny/shuffled/0',
    ]
    assert 'torch.distributed.run --nproc-per-node=2' in shown
    assert '--launcher pytorch' in shown
    assert f'--images {data}/Rain13K/train/input' in shown
    _, slurm = call(capsys, *command, '--dry-run', '--gpus', '2', '--slurm', '-p gpu --gres gpu:2')
    assert 'srun -p gpu --gres gpu:2 --ntasks=2 --kill-on-bad-exit=1' in slurm
    assert '--launcher slurm' in slurm


@pytest.mark.parametrize(
    ('extra', 'message'),
    [
        (['--data', 'nowhere'], r'--data: trial needs images in .*nowhere/Rain13K/.*`sapd prepare-dataset` makes'),
        (['--tests', 'Rain100'], "--tests: found 'Rain100'.*Did you mean 'Rain100L'"),
        (['--framework', 'basicrs'], "--framework: found 'basicrs'.*Did you mean 'basicsr'"),
        (['--iterations', '0'], '--iterations: found 0'),
        (['--masks-of', 'clean'], "--masks-of: found 'clean', expected one of restored, target, input"),
        (['--masks', 'nowhere'], '--masks: found no nowhere'),
        (['--gpus', '3', '--batch', '4'], 'batches of 4, which 3 processes cannot share evenly'),
        (['--segmenter', 'sam'], '--sam-checkpoint: found no SAM weights'),
        (None, '--vgg-checkpoint: SGR needs VGG-19 weights, found none'),
    ],
)
def test_mistakes_are_named_before_anything_runs(data, tmp_path, vgg_weights, monkeypatch, capsys, extra, message):
    for name in ('SAPD_SAM_CHECKPOINT', 'SAPD_VGG_CHECKPOINT'):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    command = ['run', 'trial', 'RCAN/tiny/spd_sgr/0', '--framework', 'basicsr']
    command += arguments(data, tmp_path, *([] if extra is None else ['--vgg-checkpoint', str(vgg_weights), *extra]))
    status, printed = call(capsys, *command)
    assert status == 2, printed
    assert re.search(message, printed), printed
    assert not (tmp_path / 'runs').exists()


@pytest.mark.parametrize(
    ('arm', 'message', 'right'),
    [
        ('target_masks', 'target_masks needs masks with source target, found restored in', {'source': 'target'}),
        (
            'felzenszwalb_masks',
            'felzenszwalb_masks needs masks with segmenter felzenszwalb, found mobile_sam in',
            {'segmenter': 'felzenszwalb'},
        ),
    ],
)
def test_a_store_of_other_masks_than_an_arm_asks_for_is_refused(data, tmp_path, capsys, arm, message, right):
    found = {'segmenter': 'mobile_sam', 'source': 'restored'}
    images = data / 'Rain13K/train/input'
    stores = [make_store(tmp_path / name, images, settings=found | own) for name, own in (('a', {}), ('b', right))]
    tables = definitions(tmp_path / 'definitions', {**TABLE, 'arms': ['stock', arm]})
    command = ['run', 'trial', f'RCAN/tiny/{arm}/0', '--framework', 'basicsr', '--definitions', str(tables)]
    command += ['--data', str(tmp_path), '--output', str(tmp_path / 'runs'), '--masks']
    status, printed = call(capsys, *command, str(stores[0]))
    assert (status, f'--masks: {message}' in printed) == (2, True), printed
    status, printed = call(capsys, *command, str(stores[1]))
    assert (status, '--data: ' in printed) == (2, True), printed  # what is looked at next


@pytest.mark.parametrize(
    'wrap',
    [
        lambda state: state,
        lambda state: {'params': state},
        lambda state: {'params_ema': state, 'params': {k: v * 0 for k, v in state.items()}},
        lambda state: {'state_dict': {f'module.{k}': v for k, v in state.items()}, 'epoch': 3},
        lambda state: {'meta': {}, 'state_dict': {f'generator.{k}': v for k, v in state.items()}},
        lambda state: {'model': state},
    ],
)
def test_checkpoints_are_read_in_whatever_they_are_wrapped(tmp_path, wrap):
    state = torch.nn.Linear(2, 3).state_dict()
    torch.save(wrap(state), tmp_path / 'published.pth')
    found = read_published(tmp_path / 'published.pth')
    assert found.keys() == state.keys()
    assert all(torch.equal(found[key], state[key]) for key in state)
