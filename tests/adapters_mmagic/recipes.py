"""Configs that the MMagic tests share."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from mmengine.config import Config

import sapd_plugin.mmagic  # noqa: F401
from tests.photos import ROOT
from tests.recipes import DELETE, update

SMALL = {
    'experiment_name': DELETE,
    'work_dir': DELETE,
    'custom_hooks': DELETE,
    'model:generator': {
        'type': 'NAFNet',
        'img_channels': 3,
        'mid_channels': 8,
        'enc_blk_nums': [1],
        'middle_blk_num': 1,
        'dec_blk_nums': [1],
    },
    'model:pixel_loss': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
    'train_dataloader:batch_size': 2,
    'train_dataloader:dataset:pipeline:0:channel_order': 'rgb',
    'train_dataloader:dataset:pipeline:1:channel_order': 'rgb',
    'train_dataloader:dataset:pipeline:6:gt_patch_size': 48,
    'val_evaluator': [{'type': 'PSNR'}, {'type': 'SSIM'}],
    'test_evaluator': [{'type': 'PSNR'}, {'type': 'SSIM'}],
    'train_cfg:max_iters': 4,
    'train_cfg:val_interval': 4,
    'param_scheduler': {'type': 'MultiStepLR', 'by_epoch': False, 'milestones': [3], 'gamma': 0.5},
    'default_hooks': {
        'checkpoint': {'type': 'CheckpointHook', 'interval': 2, 'by_epoch': False},
        'logger': {'type': 'LoggerHook', 'interval': 1},
    },
    'env_cfg:mp_cfg:opencv_num_threads': 1,
    'log_processor:window_size': 1,
    'randomness': {'seed': 5},
}


@functools.cache
def shipped() -> str:
    return json.dumps(Config.fromfile(ROOT / 'configs/mmagic/_base_/mmagic_nafnet_gopro.py').to_dict())


def stock_config(pairs: Path, **changes: Any) -> dict[str, Any]:
    """MMagic's own config of NAFNet for GoPro, cut down to a small network and four iterations on the CPU."""
    config = json.loads(shipped(), object_hook=lambda block: {k: v for k, v in block.items() if k != '_scope_'})
    for phase in ('train', 'val', 'test'):
        loader = config[f'{phase}_dataloader']
        loader['num_workers'] = 0
        loader['dataset'].update(data_root=str(pairs), data_prefix={'img': 'rainy', 'gt': 'clean'})
    return update(config, {**SMALL, **changes})


def sapd_config(pairs: Path, store: Path, vgg: Path | None = None, **changes: Any) -> dict[str, Any]:
    """The stock config and the delta that a user adds."""
    config = stock_config(pairs)
    config['custom_imports'] = {'imports': ['sapd_plugin.mmagic'], 'allow_failed_imports': False}
    config['model'].update(
        type='SAPDModel',
        network_spf={'type': 'SPF', 'fusion': 'image', 'mask_dropout': 0, 'planes': 4},
        every=1,
        spd_loss={'type': 'SPDLoss', 'loss_weight': 0.5, 'gate': 'none'},  # acts from the first step
    )
    if vgg is not None:
        config['model']['sgr_loss'] = {'type': 'SGRLoss', 'loss_weight': 0.5, 'weights': str(vgg), 'every': 1}
    config['train_dataloader']['dataset'].update(type='PairedImageMaskDataset', mask_store=str(store))
    config['default_hooks']['sapd'] = {'type': 'SAPDHook'}
    return update(config, changes)


def write_config(config: dict[str, Any], path: Path) -> Path:
    Config(config).dump(path)
    return path
