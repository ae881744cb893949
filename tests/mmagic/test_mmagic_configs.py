"""Every shipped MMagic config: its delta is short, it builds, and its CPU-sized brother trains and tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config

import sapd_plugin.mmagic  # noqa: F401
from photos import ROOT, make_pairs, make_store, run, shared_labels

CONFIGS = ROOT / 'configs/mmagic'
SAPD = sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.glob('*/*_sapd.py'))
STOCK = sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.glob('*/*_stock.py'))
CPU = sorted(str(p.relative_to(CONFIGS)) for p in CONFIGS.glob('*/*_cpu.py'))


@pytest.fixture(scope='module')
def data(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Pairs large enough for the patches, and their masks."""
    pairs = make_pairs(shared_data, tmp_path_factory.mktemp('configs') / 'pairs', 3, (160, 160))
    return pairs, make_store(pairs.parent / 'masks', pairs / 'clean', shared_labels(shared_data))


def loaders(config: Config, phase: str) -> list:
    """The data loaders of a phase; tests have several, with a metric each."""
    found = config[f'{phase}_dataloader']
    return found if isinstance(found, list) else [found]


def on_disk(loader: dict, pairs: Path) -> dict:
    """A dataset's config, pointed at real photos."""
    dataset = loader['dataset'].to_dict()
    folders = {key: 'clean' if key == 'gt' else 'rainy' for key in dataset['data_prefix']}  # DPDD has three inputs
    return {**dataset, 'ann_file': '', 'data_root': str(pairs), 'data_prefix': folders, 'filename_tmpl': {}}


def test_all_settings_are_there():
    assert {name.split('/')[0] for name in CPU} == {'derain', 'deblur', 'denoise'}
    networks = {Config.fromfile(CONFIGS / name).model.generator.type for name in SAPD}
    assert networks == {'NAFNet', 'NAFNetLocal', 'Restormer', 'SwinIRNet', 'EDSRNet'}


@pytest.mark.parametrize('name', SAPD)
def test_the_delta_is_short_and_nothing_else(name):
    lines = [line for line in (CONFIGS / name).read_text().splitlines() if line and not line.lstrip().startswith('#')]
    assert len(lines) - 1 <= 20  # beyond _base_
    config = Config.fromfile(CONFIGS / name)
    base = (
        Config.fromfile(CONFIGS / name.replace('_sapd', '_stock')) if name.replace('_sapd', '_stock') in STOCK else None
    )
    if base is not None:
        ours = {'experiment_name', 'work_dir', 'custom_imports', 'model', 'train_dataloader', 'default_hooks'}
        assert {key for key in {*config, *base} if config.get(key) != base.get(key)} == ours
        for key in ('generator', 'pixel_loss', 'data_preprocessor'):
            assert config.model[key] == base.model[key]
        assert config.train_dataloader.dataset.pipeline == base.train_dataloader.dataset.pipeline


@pytest.mark.slow
@pytest.mark.parametrize('name', SAPD + STOCK)
def test_full_size_config_builds(name, data):
    """The model with its branch, and a sample of the pipeline at the patch size it asks for."""
    pairs, store = data
    config = Config.fromfile(CONFIGS / name)
    for phase in ('train', 'val'):
        dataset = on_disk(loaders(config, phase)[0], pairs)
        for transform in dataset['pipeline']:
            if transform['type'] == 'PairedRandomCrop':
                transform['gt_patch_size'] = min(transform['gt_patch_size'], 160)
            elif transform['type'] == 'SetValues':
                transform['dictionary'] = {'scale': 1}  # the photos of both folders have one size
        if 'dfwb' in name:
            dataset['data_prefix']['img'] = 'clean'  # the pipeline makes the noise
        if 'mask_store' in dataset:
            dataset['mask_store'] = str(store)
        sample = DATASETS.build(dataset)[0]
        if 'dfwb' in name:
            noise = sample['inputs'].float() - sample['data_samples'].gt_img.float()
            assert 24 < noise.std().item() < 26
        masked = phase == 'train' and name in SAPD
        assert ('sam_mask' in sample['data_samples']) == masked
        if masked:
            assert sample['data_samples'].sam_mask.shape[1:] == sample['data_samples'].gt_img.shape[1:]
    model = MODELS.build(config.model)
    sizes = [
        sum(p.numel() for p in part.parameters()) for part in (model.generator, getattr(model, 'spf', None)) if part
    ]
    assert all(size > 1e6 for size in sizes)
    assert len(sizes) == (2 if name in SAPD else 1)


def on_real_photos(name: str, pairs: Path, store: Path) -> Config:
    """A shipped config, pointed at real photos, for two iterations."""
    config = Config.fromfile(CONFIGS / name)
    for phase in ('train', 'val', 'test'):
        for loader in loaders(config, phase):
            loader.update(num_workers=0, dataset=on_disk(loader, pairs))
    config.train_dataloader.dataset.mask_store = str(store)
    config.train_cfg.update(max_iters=2, val_interval=2)
    config.default_hooks.logger.interval = 1
    config.default_hooks.checkpoint.interval = 2
    return config


@pytest.mark.slow
@pytest.mark.parametrize('name', CPU)
def test_cpu_sized_config_trains_and_its_student_is_tested(name, data, vgg_weights, tmp_path):
    on_real_photos(name, *data).dump(tmp_path / 'config.py')
    command = [str(ROOT / 'tools/mmagic_train.py'), 'config.py', '--work-dir', 'work']
    result = run(command, tmp_path, SAPD_VGG_CHECKPOINT=str(vgg_weights))
    assert result.returncode == 0, result.stdout[-4000:]
    for loss in ('loss', 'loss_spf', 'loss_spd', 'loss_sgr'):
        assert f'{loss}: ' in result.stdout
    assert 'PSNR: ' in result.stdout
    (checkpoint,) = tmp_path.rglob('iter_2.pth')
    result = run([str(ROOT / 'tools/mmagic_test.py'), 'config.py', str(checkpoint)], tmp_path)
    assert result.returncode == 0, result.stdout[-4000:]
    assert 'PSNR: ' in result.stdout
