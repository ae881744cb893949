"""The quickstart's BasicSR options: a stock config, and the few lines that make it a SAPD config."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

PATCH = 64


def stock(pairs: Path, iterations: int, seed: int) -> dict[str, Any]:
    """A plain BasicSR training config for a small network on the CPU."""
    return {
        'name': 'stock',
        'model_type': 'SRModel',
        'scale': 1,
        'num_gpu': 0,
        'manual_seed': seed,
        'datasets': {
            'train': {
                'name': 'train',
                'type': 'PairedImageDataset',
                **_folders(pairs / 'train'),
                'gt_size': PATCH,
                'use_hflip': True,
                'use_rot': True,
                'num_worker_per_gpu': 1,
                'batch_size_per_gpu': 8,
                'dataset_enlarge_ratio': 100,
                'prefetch_mode': None,
            },
        },
        'network_g': network(),
        'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
        'train': {
            'ema_decay': 0.99,
            'optim_g': {'type': 'Adam', 'lr': 1e-3, 'weight_decay': 0, 'betas': [0.9, 0.99]},
            'scheduler': {
                'type': 'CosineAnnealingRestartLR',
                'periods': [iterations],
                'restart_weights': [1],
                'eta_min': 1e-6,
            },
            'total_iter': iterations,
            'warmup_iter': -1,
            'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
        },
        'logger': {'print_freq': 10, 'save_checkpoint_freq': max(1, iterations // 4), 'use_tb_logger': True},
    }


def sapd(stock_options: dict[str, Any], mask_store: Path, vgg: Path | None) -> dict[str, Any]:
    """The stock config with SAM priors: this is the whole delta."""
    opt = copy.deepcopy(stock_options)
    opt['name'] = 'sapd'
    opt['model_type'] = 'SAPDModel'
    opt['datasets']['train']['type'] = 'PairedImageMaskDataset'
    opt['datasets']['train']['mask_store'] = str(mask_store)
    opt['datasets']['train']['mask_filename_tmpl'] = '{}_restored'
    opt['network_spf'] = {'type': 'SPF'}
    opt['train']['spd_opt'] = {'type': 'SPDLoss', 'loss_weight': 0.1}
    if vgg is not None:
        opt['train']['sgr_opt'] = {'type': 'SGRLoss', 'loss_weight': 0.1, 'weights': str(vgg)}
    return opt


def testing(name: str, folder: Path, student: Path, suffix: str) -> dict[str, Any]:
    """A plain BasicSR test config: the same for both students."""
    metric = {'crop_border': 0, 'test_y_channel': False}
    return {
        'name': name,
        'model_type': 'SRModel',
        'scale': 1,
        'num_gpu': 0,
        'manual_seed': 0,
        'datasets': {'test': {'name': 'photos', 'type': 'PairedImageDataset', **_folders(folder)}},
        'network_g': network(),
        'path': {'pretrain_network_g': str(student), 'param_key_g': 'params_ema', 'strict_load_g': True},
        'val': {
            'save_img': True,
            'suffix': suffix,
            'metrics': {'psnr': {'type': 'calculate_psnr', **metric}, 'ssim': {'type': 'calculate_ssim', **metric}},
        },
    }


def network() -> dict[str, Any]:
    """The student: a registered network of BasicSR's at scale 1, about 35,000 parameters."""
    return {'type': 'SRVGGNetCompact', 'num_feat': 24, 'num_conv': 6, 'upscale': 1}


def _folders(folder: Path) -> dict[str, Any]:
    return {
        'dataroot_gt': str(folder / 'clean'),
        'dataroot_lq': str(folder / 'degraded'),
        'io_backend': {'type': 'disk'},
    }
