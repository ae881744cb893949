"""Every shipped MMagic config is run: stock, with SAM priors, and CPU-sized; by MMEngine's own Runner."""

from __future__ import annotations

import copy
import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config
from mmengine.runner import Runner

from sapd_plugin.mmagic.delta import delta_of
from tests import config_stand_ins
from tests.config_stand_ins import check_sizes, parameters, tiny, write_pictures
from tests.photos import ROOT, make_store

CONFIGS = ROOT / 'configs/mmagic'
STOCK, SAPD, CPU, TEST, SHARED = (
    sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.glob(pattern))
    for pattern in ('*/*_stock.py', '*/*_sapd.py', '*/*_cpu.py', '*/*_test.py', '_base_/*.py')
)
PATCH = 48
NAMES = ['one', 'two']
EDSR_TINY = {'mid_channels': 8, 'num_blocks': 1}  # no table has it


@functools.cache
def parsed(name: str) -> Config:
    return Config.fromfile(CONFIGS / name)


def load(name: str) -> Config:
    return copy.deepcopy(parsed(name))


def loaders(config: Config, phase: str) -> list:
    """The data loaders of a phase; tests have several, with a metric each."""
    found = config[f'{phase}_dataloader']
    return found if isinstance(found, list) else [found]


def crop(pipeline: list[dict[str, Any]]) -> dict[str, Any]:
    return next(transform for transform in pipeline if transform['type'] == 'PairedRandomCrop')


def test_every_config_is_run():
    found = {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.py')}
    assert found == {*STOCK, *SAPD, *CPU, *TEST, *SHARED}
    assert len(STOCK) >= 25
    assert {name.split('/')[0] for name in CPU} == {'derain', 'deblur', 'denoise'}


@pytest.mark.parametrize('name', SAPD)
def test_the_delta_is_short_and_nothing_else(name):
    lines = [line for line in (CONFIGS / name).read_text().splitlines() if line and not line.lstrip().startswith('#')]
    assert len(lines) - 1 <= 20  # beyond _base_
    if name.replace('_sapd', '_stock') in STOCK:
        config, base = load(name), load(name.replace('_sapd', '_stock'))
        ours = {'experiment_name', 'work_dir', 'custom_imports', 'model', 'train_dataloader', 'default_hooks'}
        assert {key for key in {*config, *base} if config.get(key) != base.get(key)} <= ours
        for key in ('generator', 'pixel_loss', 'data_preprocessor'):
            assert config.model[key] == base.model[key]
        assert config.train_dataloader.dataset.pipeline == base.train_dataloader.dataset.pipeline


@pytest.mark.parametrize('name', STOCK + SAPD)
def test_full_size_network_builds(name):
    assert parameters(MODELS.build, load(name).model.generator) > 1.6e5


@pytest.mark.parametrize(
    'model', [name for name, entry in config_stand_ins.MODELS.items() if 'mmagic' in entry['type']]
)
def test_sizes_of_the_tables(model):
    check_sizes('mmagic', model, [load(name).model.generator.to_dict() for name in STOCK], MODELS.build)


def fill_folders(config: Config, root: Path) -> None:
    """Pictures for a config's training at its full patch, for validation and test, and masks.

    Masks are named after the degraded images, from which the README's command cuts them.
    """
    scale = next(
        (t['dictionary']['scale'] for t in config.train_dataloader.dataset.pipeline if t['type'] == 'SetValues'), 1
    )
    for phase in ('test', 'val', 'train'):  # training comes last: a shared folder gets the larger pictures
        for loader in loaders(config, phase):
            dataset = loader.dataset
            side = crop(dataset.pipeline)['gt_patch_size'] + 8 if phase == 'train' else 64
            for key, folder in dataset.data_prefix.items():
                template = (dataset.get('filename_tmpl') or {}).get(key, '{}')
                names = [template.format(name) for name in NAMES]
                small = scale if key == 'img' else 1
                path = root / dataset.data_root / folder
                write_pictures(path, names, side // small, (side + 8) // small, degraded=key != 'gt')
            if dataset.get('ann_file'):
                (root / dataset.data_root / dataset.ann_file).write_text('\n'.join(f'{name}.png' for name in NAMES))
            if dataset.get('mask_store'):
                prefix = dataset.data_prefix['img' if scale == 1 else 'gt']
                make_store(root / dataset.mask_store, root / dataset.data_root / prefix)


def cut_down(config: Config) -> None:
    """Narrow networks, small patches, two iterations; all else stays."""
    block = config.model.generator
    block.update(EDSR_TINY if block.type == 'EDSRNet' else tiny('mmagic', block.type))
    if 'network' in config.model.get('network_spf', {}):
        config.model.network_spf.network.update(EDSR_TINY)
    found = crop(config.train_dataloader.dataset.pipeline)
    found['gt_patch_size'] = min(found['gt_patch_size'], PATCH)
    config.train_dataloader.batch_size = min(config.train_dataloader.batch_size, 2)


RUNS = [(name, 'as it is') for name in STOCK + SAPD + CPU]
RUNS += [(name, 'delta') for name in STOCK if name.replace('_stock', '_sapd') not in SAPD]


@pytest.mark.parametrize(('name', 'kind'), RUNS)
@pytest.mark.usefixtures('without_ceremony')
def test_config_trains_and_validates(name, kind, vgg_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('SAPD_VGG_CHECKPOINT', str(vgg_weights))
    config = load(name)
    if kind == 'delta':  # what `sapd add` makes of it
        Path('delta.py').write_text(delta_of(config, str(CONFIGS / name), 'datasets/masks/train'))
        config = Config.fromfile('delta.py')
    fill_folders(config, tmp_path)
    sample = DATASETS.build(config.train_dataloader.dataset)[0]
    side = crop(config.train_dataloader.dataset.pipeline)['gt_patch_size']
    channels = config.model.generator.get('in_nc', 3)
    assert sample['data_samples'].gt_img.shape == (channels, side, side)
    priors = config.model.type == 'SAPDModel'
    assert ('sam_mask' in sample['data_samples']) == priors
    if priors:
        assert sample['data_samples'].sam_mask.shape[1:] == (side, side)
    if 'dfwb' in name or 'bsd400' in name:
        noise = (sample['inputs'].float() - sample['data_samples'].gt_img.float()).std().item()
        assert noise == pytest.approx(25, rel=0.1) if 'dncnn_dfwb' not in name else 0 < noise < 60
    if name not in CPU:
        cut_down(config)
    for phase in ('train', 'val', 'test'):
        for loader in loaders(config, phase):
            loader.update(num_workers=0, persistent_workers=False)
    config.train_cfg.update(max_iters=2, val_interval=2)
    config.default_hooks.checkpoint.update(interval=2, out_dir=None)
    config.work_dir = 'work'
    config.experiment_name = f'{name} {kind} {tmp_path.name}'.replace('/', ' ')
    training = Runner.from_cfg(config)
    training.train()
    logged = {key: value.current() for key, value in training.message_hub.log_scalars.items()}
    for loss in ('loss', *(('loss_spf', 'loss_spd', 'loss_sgr') if priors else ())):
        assert f'train/{loss}' in logged
    assert any(key.startswith('val/') and key.endswith('PSNR') for key in logged)
    assert not any(value != value for value in logged.values())
    saved = torch.load(tmp_path / 'work/iter_2.pth', weights_only=False)['state_dict']
    assert all(torch.isfinite(value).all() for value in saved.values())
    assert not any('spf' in key for key in saved)
    if name in CPU:
        config.load_from, config.experiment_name = 'work/iter_2.pth', f'{config.experiment_name} test'
        testing = Runner.from_cfg(config)
        testing.test()
        found = {key: value.current() for key, value in testing.message_hub.log_scalars.items()}
        assert any(key.endswith('PSNR') and 5 < value < 60 for key, value in found.items())
