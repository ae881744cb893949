"""The checks of a complete run's config, which training and ``sapd check`` share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mmagic
import pytest
from mmengine.config import Config
from mmengine.dataset import DefaultSampler, InfiniteSampler

from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.delta import plain
from sapd_plugin.mmagic.run_checks import check_batches, run_checks
from tests.adapters_mmagic.recipes import sapd_config
from tests.photos import ROOT
from tests.recipes import DELETE

CROP = 'train_dataloader:dataset:pipeline:6'
MISTAKES: dict[str, tuple[dict[str, Any], str]] = {
    'no loop': ({'train_cfg': DELETE}, 'train_cfg: missing'),
    'no optimizer': ({'optim_wrapper': DELETE}, 'optim_wrapper: missing'),
    'half a validation': ({'val_dataloader': DELETE}, 'val_dataloader: missing beside val_cfg and val_evaluator'),
    'half a test': ({'test_cfg': None}, 'test_cfg: missing beside test_dataloader and test_evaluator'),
    'loop': ({'train_cfg:type': 'IterBasedTrainLop'}, "train_cfg.type: .*Did you mean 'IterBasedTrainLoop'"),
    "loop's key": ({'train_cfg:max_iterss': 3}, "train_cfg: unknown key 'max_iterss'.*Did you mean 'max_iters'"),
    'epochs without their number': ({'train_cfg': {'by_epoch': True}}, 'train_cfg.max_epochs: missing'),
    'loop of two kinds': ({'train_cfg:by_epoch': False}, "train_cfg.by_epoch: found beside 'type'"),
    'validation': ({'val_cfg:type': 'MultiValLop'}, "val_cfg.type: .*Did you mean 'MultiValLoop'"),
    'metric': ({'val_evaluator': [{'type': 'PSNRR'}]}, r"val_evaluator\[0\].type: .*Did you mean 'PSNR'"),
    'metric in a block': ({'val_evaluator': {'metrics': {'type': 'SIM'}}}, 'val_evaluator.metrics.type: .*SSIM'),
    "metric's key": ({'val_evaluator': {'type': 'PSNR', 'crop_bordr': 4}}, "val_evaluator: .*'crop_border'"),
    'border': ({'val_evaluator': [{'type': 'PSNR', 'crop_border': '4'}]}, r'val_evaluator\[0\].crop_border: found .4.'),
    'scheduler': ({'param_scheduler:type': 'MultiStepLRR'}, "param_scheduler.type: .*Did you mean 'MultiStepLR'"),
    'clipping': ({'optim_wrapper:clip_grad': {'max_nrm': 1}}, "optim_wrapper.clip_grad: .*Did you mean 'max_norm'"),
    'clipping by value': (
        {'optim_wrapper:clip_grad': {'type': 'value', 'max_norm': 1}},
        "optim_wrapper.clip_grad: unknown key 'max_norm'. Valid keys: clip_value",
    ),
    'crop': ({f'{CROP}:gt_patch_size': 0}, r'dataset.pipeline\[6\].gt_patch_size: found 0'),
    'transform': ({f'{CROP}:type': 'PairedRandomCop'}, r"pipeline\[6\].type: .*Did you mean 'PairedRandomCrop'"),
    'sampler': ({'train_dataloader:sampler:type': 'InfinitSampler'}, "sampler.type: .*Did you mean 'InfiniteSampler'"),
    'no sampler': ({'train_dataloader:sampler': DELETE}, 'train_dataloader.sampler: missing'),
    "loader's key": ({'val_dataloader:batchsize': 1}, "val_dataloader: .*Did you mean 'batch_size'"),
    'interval': ({'default_hooks:checkpoint:interval': '2'}, "default_hooks.checkpoint.interval: found '2'"),
    'hook': ({'default_hooks:logger:type': 'LogerHook'}, "default_hooks.logger.type: .*Did you mean 'LoggerHook'"),
    "hook's key": (
        {'custom_hooks': [{'type': 'EMAHook', 'momentm': 1}, {'type': 'EMAHok'}]},
        r'custom_hooks\[1\].type',
    ),
    'hooks': ({'custom_hooks': {'type': 'EMAHook'}}, 'custom_hooks: .*expected a list'),
    'best': ({'default_hooks:checkpoint:save_best': ['PSNR', 'SIM']}, "save_best: .* PSNR, SSIM. Did you mean 'SSIM'"),
    'level': ({'log_level': 'INF'}, "log_level: .*Did you mean 'INFO'"),
    'visualizer': ({'visualizer:type': 'ConcatImageVisualizr'}, "visualizer.type: .*'ConcatImageVisualizer'"),
    'resume': ({'resume': 'yes'}, "resume: found 'yes', expected true or false"),
}


def repeated(config: dict[str, Any], times: int) -> dict[str, Any]:
    config['train_dataloader']['dataset'] = {
        'type': 'RepeatDataset',
        'times': times,
        'dataset': config['train_dataloader']['dataset'],
    }
    return config


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes_are_named(pairs, store, mistake):
    changes, message = MISTAKES[mistake]
    with pytest.raises(SAPDError, match=message):
        run_checks(Config(sapd_config(pairs, store, **changes)))


def test_no_repetition_is_refused(pairs, store):
    """Its loader would wait for a batch without end."""
    run_checks(Config(repeated(sapd_config(pairs, store), 2)))
    with pytest.raises(SAPDError, match=r'train_dataloader.dataset.times: found 0, expected an integer >= 1'):
        run_checks(Config(repeated(sapd_config(pairs, store), 0)))


VALID: dict[str, dict[str, Any]] = {
    'tuples': {
        'param_scheduler': ({'type': 'MultiStepLR', 'by_epoch': False, 'milestones': (3,)},),
        'optim_wrapper:optimizer:betas': (0.9, 0.99),
        'custom_hooks': ({'type': 'EMAHook'},),
        'default_hooks:checkpoint:save_best': ('PSNR',),
    },
    'no validation': dict.fromkeys(('val_cfg', 'val_dataloader', 'val_evaluator')),
    'resume': {'resume': None},
    'constructor': {'optim_wrapper:constructor': 'OfAUser', 'optim_wrapper:decay_by_layer': 0.9},
    'groups of metrics': {
        'val_evaluator': [
            {'type': 'Evaluator', 'metrics': {'type': 'PSNR', 'prefix': 'a'}},
            {'type': 'Evaluator', 'metrics': [{'type': 'SSIM', 'prefix': 'b'}]},
        ],
        'default_hooks:checkpoint:save_best': 'b/SSIM',
    },
    'epochs': {'train_cfg': {'by_epoch': True, 'max_epochs': 3}, 'val_cfg': {}},
    'clipping by value': {'optim_wrapper:clip_grad': {'type': 'value', 'clip_value': 1.0}},
    'a hook whose interval is a block': {'custom_hooks': [{'type': 'BasicVisualizationHook', 'interval': {}}]},
    'a priority': {'default_hooks:sapd:priority': 'LOW'},
    'no hook': {'default_hooks:logger': None},
    'a level of its own': {'log_level': 15},
}


@pytest.mark.parametrize('case', VALID)
def test_what_trains_passes(pairs, store, case):
    run_checks(Config(sapd_config(pairs, store, **VALID[case])))


@pytest.mark.parametrize('path', sorted((ROOT / 'configs/mmagic').glob('[!_]*/*_*.py')), ids=lambda path: path.stem)
def test_each_config_of_a_training_passes(path: Path):
    config = Config.fromfile(path)
    if config.get('train_cfg') is not None:
        run_checks(config)


def test_each_config_of_mmagic_for_one_image_passes() -> None:
    folder = Path(mmagic.__file__).parent / '.mim/configs'
    names = ('deblurganv2', 'edsr', 'esrgan', 'liif', 'nafnet', 'rdn', 'restormer', 'srcnn', 'srgan_resnet', 'swinir')
    refused = {}
    configs = [(path, Config.fromfile(path)) for name in names for path in sorted((folder / name).glob('*.py'))]
    trained = [(path, config) for path, config in configs if config.get('train_cfg') is not None]
    for path, config in trained:
        try:
            run_checks(config)
        except SAPDError as error:
            refused[path.stem] = str(error)
    assert len(trained) > 30
    # In SwinIR's, some metrics are reported as 'McMaster/PSNR', and save_best is 'PSNR': MMEngine raises a KeyError.
    assert all('swinir' in name and "save_best: found 'PSNR'" in error for name, error in refused.items()), refused


MISPLACED = {
    'network_spf': ({'model:network_spf': DELETE, 'network_spf': {'type': 'SPF'}}, 'model.network_spf'),
    'model.train_cfg.spd_loss': ({'model:train_cfg': {'spd_loss': {}}}, 'model.spd_loss'),
    'env_cfg.network_spf': ({'env_cfg:network_spf': {}}, 'model.network_spf'),
    'mask_store': (
        {'train_dataloader:dataset:mask_store': DELETE, 'mask_store': 'masks'},
        'train_dataloader.dataset.mask_store',
    ),
    'model.mask_context': ({'model:mask_context': True}, 'train_dataloader.dataset.mask_context'),
    'optim_wrapper.optimizer.spf_optimizer': (
        {'optim_wrapper:optimizer:spf_optimizer': {}},
        'optim_wrapper.spf_optimizer',
    ),
}


@pytest.mark.parametrize('key', MISPLACED)
def test_a_key_at_a_wrong_place_is_refused_with_the_right_one(pairs, store, key):
    changes, place = MISPLACED[key]
    with pytest.raises(SAPDError, match=rf'^{key}: found.*, where nothing reads it, expected {place}\.$'):
        run_checks(Config(sapd_config(pairs, store, **changes)))


def test_a_variable_of_the_config_is_not_a_key_at_a_wrong_place(pairs, store):
    config = sapd_config(pairs, store)
    config['network_spf'] = config['model']['network_spf']
    config['train_dataset'] = config['train_dataloader']['dataset']
    run_checks(Config(repeated(config, 2)))


def test_a_batch_that_is_never_full_is_refused():
    images = list(range(4))
    with pytest.raises(SAPDError, match=r'train_dataloader.batch_size: found 8, .* Expected at most 4, or sampler='):
        check_batches(images, DefaultSampler(images), 8, drop_last=True)
    check_batches(images, DefaultSampler(images), 4, drop_last=True)
    check_batches(images, DefaultSampler(images), 8, drop_last=False)
    check_batches(images, InfiniteSampler(images), 8, drop_last=True)


def test_tuples_stay_tuples():
    """Some arguments of transforms and networks have to be tuples."""
    assert plain(Config({'a': [(1, {'b': (2,)})]}).a) == [(1, {'b': (2,)})]
