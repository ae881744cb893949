"""Configs that the MMagic tests share, and MMagic's tools as a user runs them."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

import sapd_plugin.mmagic  # noqa: F401
from tests.photos import ROOT, succeed
from tests.recipes import update


def stock_config(pairs: Path, **changes: Any) -> dict[str, Any]:
    """A plain MMagic training config, in the manner of those that it ships, for a small NAFNet on the CPU."""
    load = [{'type': 'LoadImageFromFile', 'key': key, 'channel_order': 'rgb'} for key in ('img', 'gt')]
    flips = [
        {'type': 'Flip', 'keys': ['img', 'gt'], 'flip_ratio': 0.5, 'direction': direction}
        for direction in ('horizontal', 'vertical')
    ]
    transpose = {'type': 'RandomTransposeHW', 'keys': ['img', 'gt'], 'transpose_ratio': 0.5}
    crop = {'type': 'PairedRandomCrop', 'gt_patch_size': 48}
    scale = {'type': 'SetValues', 'dictionary': {'scale': 1}}
    dataset = {
        'type': 'BasicImageDataset',
        'metainfo': {'dataset_type': 'rain', 'task_name': 'derain'},
        'data_root': str(pairs),
        'data_prefix': {'img': 'rainy', 'gt': 'clean'},
    }
    validation = {
        'num_workers': 0,
        'persistent_workers': False,
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'dataset': {**copy.deepcopy(dataset), 'pipeline': [*copy.deepcopy(load), {'type': 'PackInputs'}]},
    }
    metrics = [{'type': 'PSNR'}, {'type': 'SSIM'}]
    config = {
        'default_scope': 'mmagic',
        'model': {
            'type': 'BaseEditModel',
            'generator': {
                'type': 'NAFNet',
                'img_channels': 3,
                'mid_channels': 8,
                'enc_blk_nums': [1],
                'middle_blk_num': 1,
                'dec_blk_nums': [1],
            },
            'pixel_loss': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
            'train_cfg': {},
            'test_cfg': {},
            'data_preprocessor': {'type': 'DataPreprocessor', 'mean': [0.0, 0.0, 0.0], 'std': [255.0, 255.0, 255.0]},
        },
        'train_dataloader': {
            'num_workers': 0,
            'batch_size': 2,
            'persistent_workers': False,
            'sampler': {'type': 'InfiniteSampler', 'shuffle': True},
            'dataset': {**dataset, 'pipeline': [*load, scale, *flips, transpose, crop, {'type': 'PackInputs'}]},
        },
        'val_dataloader': validation,
        'test_dataloader': copy.deepcopy(validation),
        'val_evaluator': metrics,
        'test_evaluator': copy.deepcopy(metrics),
        'train_cfg': {'type': 'IterBasedTrainLoop', 'max_iters': 4, 'val_interval': 4},
        'val_cfg': {'type': 'MultiValLoop'},
        'test_cfg': {'type': 'MultiTestLoop'},
        'optim_wrapper': {
            'constructor': 'DefaultOptimWrapperConstructor',
            'type': 'OptimWrapper',
            'optimizer': {'type': 'AdamW', 'lr': 1e-3, 'weight_decay': 1e-3, 'betas': (0.9, 0.9)},
        },
        'param_scheduler': {'type': 'MultiStepLR', 'by_epoch': False, 'milestones': [3], 'gamma': 0.5},
        'default_hooks': {
            'checkpoint': {'type': 'CheckpointHook', 'interval': 2, 'by_epoch': False},
            'logger': {'type': 'LoggerHook', 'interval': 1},
        },
        'env_cfg': {'mp_cfg': {'mp_start_method': 'fork', 'opencv_num_threads': 1}},
        'log_processor': {'type': 'LogProcessor', 'window_size': 1, 'by_epoch': False},
        'visualizer': {
            'type': 'ConcatImageVisualizer',
            'vis_backends': [{'type': 'LocalVisBackend'}],
            'fn_key': 'gt_path',
            'img_keys': ['gt_img', 'input', 'pred_img'],
            'bgr2rgb': True,
        },
        'randomness': {'seed': 5},
    }
    return update(config, changes)


def sapd_config(pairs: Path, store: Path, vgg: Path | None = None, **changes: Any) -> dict[str, Any]:
    """The stock config and the delta that a user adds."""
    config = stock_config(pairs)
    config['custom_imports'] = {'imports': ['sapd_plugin.mmagic'], 'allow_failed_imports': False}
    config['model'].update(
        type='SAPDModel',
        network_spf={'type': 'SPF', 'planes': 4},
        spd_loss={'type': 'SPDLoss', 'loss_weight': 0.5, 'gate': 'none'},  # acts from the first step
    )
    if vgg is not None:
        config['model']['sgr_loss'] = {'type': 'SGRLoss', 'loss_weight': 0.5, 'weights': str(vgg)}
    config['train_dataloader']['dataset'].update(type='PairedImageMaskDataset', mask_store=str(store))
    config['default_hooks']['sapd'] = {'type': 'SAPDHook'}
    return update(config, changes)


def write_config(config: dict[str, Any], path: Path) -> Path:
    Config(config).dump(path)
    return path


def run_train(config: Path, work_dir: Path, *extra: str) -> str:
    command = [str(ROOT / 'tools/mmagic_train.py'), str(config), '--work-dir', str(work_dir), *extra]
    return succeed(command, config.parent)


def run_test(config: Path, checkpoint: Path, work_dir: Path) -> dict[str, float]:
    """Test with the plugin's tool; returns the metrics, at full precision."""
    out = work_dir / 'metrics.json'
    command = [str(ROOT / 'tools/mmagic_test.py'), str(config), str(checkpoint), '--work-dir', str(work_dir)]
    succeed([*command, '--out', str(out)], config.parent)
    return json.loads(out.read_text())
