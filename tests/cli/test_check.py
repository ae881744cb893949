"""``sapd check`` finds what training would stop at, and measures a step."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
import yaml

from sapd_plugin.cli import check
from sapd_plugin.core import Distiller, OnlineMasks, SGRLoss, StepSettings
from sapd_plugin.evaluation.step_cost import LiveTensors, Training, measure_step, step_kinds
from sapd_plugin.evaluation.trial_basicsr import BasicSRTrial
from tests.adapters_basicsr import recipes as basicsr
from tests.adapters_mmagic import recipes as mmagic
from tests.photos import make_store


def basicsr_config(folder: Path, pairs: Path, masks: Path, vgg: Path | None, **changes: Any) -> Path:
    path = folder / 'sapd.yml'
    path.write_text(yaml.safe_dump(basicsr.sapd_options(pairs, masks, vgg, **changes)))
    return path


def mmagic_config(folder: Path, pairs: Path, masks: Path, vgg: Path | None, **changes: Any) -> Path:
    return mmagic.write_config(mmagic.sapd_config(pairs, masks, vgg, **changes), folder / 'sapd.py')


FRAMEWORKS = pytest.mark.parametrize('config', [basicsr_config, mmagic_config], ids=['basicsr', 'mmagic'])
Config = Callable[..., Path]


@pytest.fixture(autouse=True)
def somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run in a folder of its own, without weights from elsewhere."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('SAPD_VGG_CHECKPOINT', raising=False)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))


def findings(out: str) -> dict[str, tuple[str, str]]:
    """Subject -> level and text."""
    lines = [re.fullmatch(r'(ok|warning|error|skipped) +([^:]+): (.*)', line) for line in out.splitlines()]
    return {match[2]: (match[1], match[3]) for match in lines if match}


@FRAMEWORKS
def test_a_config_that_can_train_is_measured_and_nothing_is_written(
    config: Config, pairs: Path, grey_store: Path, vgg_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    every = {'train:sapd_opt:every' if config is basicsr_config else 'model:every': 4}
    path = config(tmp_path, pairs, grey_store, vgg_weights, **every)
    before = sorted(tmp_path.rglob('*'))
    assert check.main([str(path), '--steps', '2', '--batch', '2']) == 0
    found = findings(capsys.readouterr().out)
    assert [level for level, _ in found.values()] == ['ok'] * 9
    assert found['masks'][1].startswith('4 training images, each with a mask')
    assert str(vgg_weights) in found['VGG-19 weights'][1]
    student, spf = (int(n.replace(',', '')) for n in re.findall(r'(?:student|SPF) ([\d,]+)', found['parameters'][1]))
    assert 0 < student < spf
    sapd, stock = (int(n.replace(',', '')) for n in re.findall(r'([\d,]+) MiB', found['memory'][1]))
    assert sapd > stock
    price, kinds, conditions = re.split(r' on average|; ', found['price'][1])
    times = re.fullmatch(r'SAPD (\d+) ms, stock (\d+) ms per step: ([\d.]+)x stock', price)
    assert re.fullmatch(r' \(75 % of the steps [\d.]+x, 25 % of the steps [\d.]+x\)', kinds), kinds
    assert conditions == 'medians of 2, batch 2.'
    assert int(times[1]) > int(times[2])
    assert float(times[3]) > 1
    assert sorted(tmp_path.rglob('*')) == before


@FRAMEWORKS
@pytest.mark.parametrize('mistake', ['no masks', 'wrong size', 'no store', 'no VGG-19', 'no folder', 'no validation'])
def test_what_training_would_stop_at_is_an_error(
    config: Config, mistake: str, pairs: Path, vgg_weights: Path, tmp_path: Path, capsys
) -> None:
    images = tmp_path / 'images'
    shutil.copytree(pairs / 'clean', images)
    if mistake == 'no masks':
        (images / '001.png').unlink()
    if mistake == 'wrong size':
        cv2.imwrite(str(images / '001.png'), cv2.imread(str(images / '001.png'))[:90])
    store = tmp_path / 'gone' if mistake == 'no store' else make_store(tmp_path / 'store', images)
    vgg = None if mistake == 'no VGG-19' else vgg_weights
    sgr, folder, validation = 'train:sgr_opt', 'datasets:train:dataroot_lq', 'datasets:val:dataroot_gt'
    if config is mmagic_config:
        sgr, folder = 'model:sgr_loss', 'train_dataloader:dataset:data_prefix:img'
        validation = folder.replace('train', 'val')
    changes = {
        'no VGG-19': {sgr: {'type': 'SGRLoss', 'loss_weight': 0.1}},
        'no folder': {folder: str(tmp_path / 'absent')},
        'no validation': {validation: str(tmp_path / 'absent')},
    }.get(mistake, {})
    assert check.main([str(config(tmp_path, pairs, store, vgg, **changes)), '--no-timing']) == 1
    found = findings(capsys.readouterr().out)
    subject, message = {
        'no masks': ('masks', "no masks for 1 of 4 images, among them '001'"),
        'wrong size': ('masks', 'is 90x112'),
        'no store': ('masks', 'gone'),
        'no VGG-19': ('VGG-19 weights', 'sapd weights'),
        'no folder': ('images', f'{folder.replace(":", ".")}: found no folder {tmp_path / "absent"}'),
        'no validation': ('images', f'{validation.replace(":", ".")}: found no folder {tmp_path / "absent"}'),
    }[mistake]
    level, text = found[subject]
    assert (level, message in text) == ('error', True), text
    assert found['step'][0] == 'skipped'
    assert 'price' not in found


@pytest.mark.parametrize(
    ('config', 'changes', 'message'),
    [
        (basicsr_config, {'train:spd_opt:gate': 'pixle'}, "Did you mean 'pixel'"),
        (basicsr_config, {'base_model_type': 'SRModle'}, "Did you mean 'SRModel'"),
        (basicsr_config, {'network_g:type': 'EDRS'}, 'EDRS'),
        (
            basicsr_config,
            {'train:spd_opt:start': 9, 'train:spd_opt:stop': 5},
            'stop: found 5, expected an iteration after',
        ),
        (basicsr_config, {'datasets:train:batch_size_per_gpu': 'many'}, "batch_size_per_gpu: found 'many'"),
        (basicsr_config, {'train:sapd_opt': 'every'}, "train.sapd_opt: found 'every', expected a block"),
        (basicsr_config, {'train': 3}, 'train: found 3, expected a block of settings'),
        (basicsr_config, {'model_type': 'SRModel'}, "model_type: found 'SRModel', which ignores network_spf"),
        (basicsr_config, {'datasets:train:batch_size_per_gpu': 100}, 'found 100, but each process draws'),
        (basicsr_config, {'val:metrics:psnr:crop_border': 60}, 'val.metrics.psnr.crop_border: found 60'),
        (mmagic_config, {'model:spd_loss:gate': 'pixle'}, "Did you mean 'pixel'"),
        (mmagic_config, {'model:base_model_type': 'SRGAN'}, 'SRGAN cannot be used'),
        (mmagic_config, {'default_hooks:sapd': mmagic.DELETE}, 'SAPDHook is missing'),
        (mmagic_config, {'param_scheduler:type': 'MultiStepLRR'}, "param_scheduler.type: found 'MultiStepLRR'"),
        (mmagic_config, {'param_scheduler:gama': 0.5}, 'param_scheduler: cannot be built'),
        (mmagic_config, {'val_evaluator:0:type': 'PSNRR'}, "val_evaluator[0].type: found 'PSNRR'"),
        (mmagic_config, {'val_dataloader:dataset:mask_store': 'a'}, 'val_dataloader or val_evaluator: cannot be built'),
    ],
)
def test_mistakes_in_the_wiring_are_told_before_or_at_the_first_step(
    config: Config, changes, message, pairs: Path, grey_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert check.main([str(config(tmp_path, pairs, grey_store, None, **changes)), '--no-timing']) == 1
    errors = [text for level, text in findings(capsys.readouterr().out).values() if level == 'error']
    assert any(message in text for text in errors), errors


def test_what_trains_is_ready_in_mmagic(pairs: Path, grey_store: Path, tmp_path: Path, capsys) -> None:
    """The hook among the user's own, tuples, epochs."""
    changes = {
        'default_hooks:sapd': mmagic.DELETE,
        'custom_hooks': [{'type': 'SAPDHook'}],
        'param_scheduler:milestones': (3,),
        'train_dataloader:dataset:pipeline:6:type': 'FixedCrop',
        'train_dataloader:dataset:pipeline:6:gt_patch_size': mmagic.DELETE,
        'train_dataloader:dataset:pipeline:6:keys': ['img', 'gt'],
        'train_dataloader:dataset:pipeline:6:crop_size': (48, 48),
        'train_dataloader:sampler': {'type': 'DefaultSampler', 'shuffle': True},
        'train_cfg': {'by_epoch': True, 'max_epochs': 1},
    }
    assert check.main([str(mmagic_config(tmp_path, pairs, grey_store, None, **changes)), '--no-timing']) == 0
    assert findings(capsys.readouterr().out)['step'][0] == 'ok'


def test_a_stock_step_that_fails_is_an_error(
    pairs: Path, grey_store: Path, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = BasicSRTrial.build

    def build(trial: BasicSRTrial, stock: bool) -> Training:
        if stock:
            raise RuntimeError('no memory')
        return step(trial, stock)

    monkeypatch.setattr(BasicSRTrial, 'build', build)
    assert check.main([str(basicsr_config(tmp_path, pairs, grey_store, None)), '--no-timing']) == 1
    assert findings(capsys.readouterr().out)['step'] == ('error', 'RuntimeError: no memory')


def test_several_gpus_need_a_launcher(pairs: Path, grey_store: Path, tmp_path: Path, capsys) -> None:
    path = basicsr_config(tmp_path, pairs, grey_store, None, num_gpu=2)
    assert check.main([str(path), '--no-timing']) == 0
    assert findings(capsys.readouterr().out)['wiring'][1].endswith(
        '; num_gpu 2 needs torchrun --nproc_per_node, and --launcher pytorch.'
    )


def test_weights_that_are_not_the_published_file_are_warned_of(
    pairs: Path, grey_store: Path, vgg_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    forged = shutil.copy(vgg_weights, tmp_path / 'vgg19-dcbb9e9d.pth')
    assert check.main([str(basicsr_config(tmp_path, pairs, grey_store, Path(forged))), '--no-timing']) == 0
    level, text = findings(capsys.readouterr().out)['VGG-19 weights']
    assert (level, 'NOT the published file' in text) == ('warning', True)


@FRAMEWORKS
def test_masks_of_too_few_regions_are_warned_of(config: Config, pairs: Path, tmp_path: Path, capsys) -> None:
    store = make_store(tmp_path / 'store', pairs / 'clean', lambda path: np.ones(cv2.imread(str(path)).shape[:2], int))
    assert check.main([str(config(tmp_path, pairs, store, None)), '--no-timing']) == 0
    level, text = findings(capsys.readouterr().out)['masks']
    assert (level, 'a patch of 48x48 holds 1 regions, expected at least 3' in text) == ('warning', True), text


def test_a_stock_config_is_told_how_to_add_sam_priors(pairs: Path, tmp_path: Path, capsys) -> None:
    (tmp_path / 'stock.yml').write_text(yaml.safe_dump(basicsr.stock_options(pairs)))
    mmagic.write_config(mmagic.stock_config(pairs), tmp_path / 'stock.py')
    for name in ('stock.yml', 'stock.py'):
        assert check.main([name]) == 1
        level, text = findings(capsys.readouterr().out)['wiring']
        assert (level, f'sapd add {name} --masks STORE' in text) == ('error', True)


@pytest.mark.parametrize(
    ('name', 'text'), [('a.yml', 'a: [1'), ('b.yml', 'x'), ('c.yml', 'network_spf: 1'), ('d.py', 'a ='), ('e.txt', '')]
)
def test_a_config_that_cannot_be_read_is_status_2(name: str, text: str, tmp_path: Path, capsys) -> None:
    (tmp_path / name).write_text(text)
    assert check.main([name]) == 2
    assert check.main([f'gone{name}']) == 2
    assert capsys.readouterr().err.count('error: ') == 2


def test_tensors_count_once_and_until_they_are_released() -> None:
    with LiveTensors() as live:
        x = torch.ones(1000)
        view, doubled = x[:500], x * 2
        assert live.peak == 2 * 4000
        del x, doubled
        tripled = view * 3  # the view keeps its storage of 1000
        assert live.peak == 2 * 4000
        live.restart()
        assert live.peak == 4000 + 2000
        tripled.repeat(4)
    assert live.peak == 6000 + 8000


def test_the_memory_of_a_step_holds_weights_gradients_and_optimizer_states() -> None:
    ran = []

    def build() -> Training:
        network = torch.nn.Linear(100, 100, bias=False)
        optimizer = torch.optim.SGD(network.parameters(), lr=1.0, momentum=0.9)

        def step(iteration: int) -> None:
            ran.append(iteration)
            optimizer.zero_grad()
            network(torch.ones(1, 100)).sum().backward()
            optimizer.step()

        return Training(step)

    cost = measure_step(build, torch.device('cpu'), repeats=2)
    assert 3 * 40000 <= cost.memory < 4 * 40000 + 2000
    assert cost.milliseconds > 0
    assert len(ran) == 2 + 3
    assert measure_step(build, torch.device('cpu'), 0).milliseconds is None


def test_the_time_of_a_step_is_the_mean_of_its_kinds() -> None:
    cost = measure_step(
        lambda: Training(lambda iteration: time.sleep(0.02 * iteration), {1: 0.75, 3: 0.25}), torch.device('cpu'), 2
    )
    assert [share for share, _ in cost.kinds] == [0.75, 0.25]
    assert 20 <= cost.kinds[0][1] < 60 <= cost.kinds[1][1] < 100
    assert cost.milliseconds == pytest.approx(0.75 * cost.kinds[0][1] + 0.25 * cost.kinds[1][1])


def test_steps_differ_by_the_branch_sgr_and_online_masks(vgg_weights: Path) -> None:
    def kinds(**settings: Any) -> dict[int, float]:
        sgr = SGRLoss(weights=vgg_weights, every=settings.pop('sgr')) if 'sgr' in settings else None
        masks = OnlineMasks(lambda photo: photo[..., 0], settings.pop('online')) if 'online' in settings else None
        step = StepSettings(**settings)
        return step_kinds(Distiller(lambda y, mask: y, torch.nn.L1Loss(), sgr=sgr, online=masks, settings=step))

    assert kinds(every=1) == {1: 1.0}
    assert kinds(every=2, sgr=4) == {1: 0.5, 2: 0.25, 4: 0.25}
    assert kinds(every=2, sgr=1) == {1: 0.5, 2: 0.5}
    assert kinds(every=2, accumulate=2) == {1: 0.5, 3: 0.5}
    assert kinds(every=1, sgr=2, accumulate=2) == {1: 0.5, 3: 0.5}
    assert kinds(every=1, online=10) == {1: 0.9, 10: 0.1}


@FRAMEWORKS
def test_it_shows_each_step_with_a_total(
    config: Config, pairs: Path, grey_store: Path, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert check.main([str(config(tmp_path, pairs, grey_store, None)), '--steps', '2']) == 0
    bar = [line for line in capsys.readouterr().err.splitlines() if line.startswith('check:')]
    assert '0/8 [' in bar[0]
    named = [line.rsplit(', ', 1)[1].rstrip(']') for line in bar[1:]]
    steps = [
        'import the framework',
        'wiring',
        'images',
        'masks',
        'VGG-19 weights',
        'SAM weights',
        'SAPD step',
        'stock step',
    ]
    assert list(dict.fromkeys(named)) == steps
    # With every step a kind of its own, three steps are timed of the SAPD training and three of the stock one.
    assert '14/14 [' in bar[-1]
