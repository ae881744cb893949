"""Option trees that the BasicSR tests share, and BasicSR's tools as a user runs them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import yaml

from tests.photos import ROOT, run

STOCK: dict[str, Any] = {
    'name': 'stock',
    'model_type': 'SRModel',
    'scale': 1,
    'num_gpu': 0,
    'manual_seed': 3,
    'datasets': {
        'train': {
            'name': 'pairs',
            'type': 'PairedImageDataset',
            'io_backend': {'type': 'disk'},
            'gt_size': 48,
            'use_hflip': True,
            'use_rot': True,
            'num_worker_per_gpu': 0,
            'batch_size_per_gpu': 2,
            'dataset_enlarge_ratio': 1,
            'prefetch_mode': None,
        },
        'val': {'name': 'val', 'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}},
    },
    'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 1},
    'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
    'train': {
        'ema_decay': 0.9,
        'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]},
        'scheduler': {'type': 'MultiStepLR', 'milestones': [4], 'gamma': 0.5},
        'total_iter': 4,
        'warmup_iter': -1,
        'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
    },
    'val': {
        'val_freq': 1000,
        'save_img': False,
        'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': False}},
    },
    'logger': {'print_freq': 1, 'save_checkpoint_freq': 1000, 'use_tb_logger': False},
}


def stock_options(pairs: Path, **changes: Any) -> dict[str, Any]:
    opt = copy.deepcopy(STOCK)
    for phase in opt['datasets'].values():
        phase.update(dataroot_gt=str(pairs / 'clean'), dataroot_lq=str(pairs / 'rainy'))
    return update(opt, changes)


def sapd_options(pairs: Path, store: Path, vgg: Path | None = None, **changes: Any) -> dict[str, Any]:
    """The stock options and the delta that a user adds."""
    opt = stock_options(pairs)
    opt.update(name='sapd', model_type='SAPDModel', network_spf={'type': 'SPF', 'planes': 4})
    opt['datasets']['train'].update(type='PairedImageMaskDataset', mask_store=str(store))
    opt['train']['spd_opt'] = {'type': 'SPDLoss', 'loss_weight': 0.5, 'gate': 'none'}  # acts from the first step
    if vgg is not None:
        opt['train']['sgr_opt'] = {'type': 'SGRLoss', 'loss_weight': 0.5, 'weights': str(vgg)}
    return update(opt, changes)


def update(opt: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Apply {'train:spd_opt:gate': True}-like changes; DELETE removes a key."""
    for path, value in changes.items():
        *parents, last = path.split(':')
        node = opt
        for key in parents:
            node = node[key]
        if value is DELETE:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)
    return opt


DELETE = object()


def parsed(opt: dict[str, Any], root: Path, is_train: bool = True) -> dict[str, Any]:
    """What BasicSR's parse_options adds to the options of a file."""
    opt = copy.deepcopy(opt)
    opt.update(dist=False, rank=0, world_size=1, is_train=is_train, auto_resume=False, root_path=str(root))
    for phase, dataset in opt['datasets'].items():
        dataset.update(phase=phase.split('_')[0], scale=opt['scale'])
    folder = root / ('experiments' if is_train else 'results') / opt['name']
    for key in ('models', 'training_states', 'visualization'):
        opt['path'][key] = str(folder / key)
        (folder / key).mkdir(parents=True, exist_ok=True)
    return opt


def write_yaml(opt: dict[str, Any], path: Path, tagged: bool = False) -> Path:
    """Write options for a stock command; ``tagged`` loads the plugin from the YAML alone."""
    text = yaml.safe_dump(opt, sort_keys=False)
    if tagged:
        text = text.replace('model_type: SAPDModel', 'model_type: !!python/object/apply:sapd_plugin.use [SAPDModel]')
    path.write_text(text)
    return path


def run_train(opt_file: Path, cwd: Path, *extra: str) -> str:
    result = run([str(ROOT / 'tools/basicsr_train.py'), '-opt', str(opt_file), *extra], cwd)
    assert result.returncode == 0, result.stdout[-6000:]
    return result.stdout


def run_test(opt_file: Path, cwd: Path) -> str:
    result = run([str(ROOT / 'tools/basicsr_test.py'), '-opt', str(opt_file)], cwd)
    assert result.returncode == 0, result.stdout[-6000:]
    return result.stdout
