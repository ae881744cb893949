"""Option trees that the BasicSR tests share, and the train and test tools."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import yaml
from basicsr.data import build_dataset
from basicsr.utils import logger as basicsr_logger
from basicsr.utils.lmdb_util import make_lmdb_from_imgs
from basicsr.utils.registry import ARCH_REGISTRY

from sapd_plugin.basicsr.options import parse_yaml
from tests.networks import DropoutNet
from tests.photos import ROOT
from tests.recipes import update

ARCH_REGISTRY.register(DropoutNet)

# The quickstart's, smaller still.
STOCK: dict[str, Any] = update(
    json.loads(json.dumps(parse_yaml((ROOT / 'configs/basicsr/quickstart/srvgg_stock.yml').read_text()))),
    {
        'name': 'stock',
        'num_gpu': 0,
        'manual_seed': 3,
        'datasets:train:gt_size': 48,
        'datasets:train:num_worker_per_gpu': 0,
        'datasets:train:batch_size_per_gpu': 2,
        'datasets:train:dataset_enlarge_ratio': 1,
        'datasets:val:name': 'val',
        'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 1},
        'train:ema_decay': 0.9,
        'train:scheduler': {'type': 'MultiStepLR', 'milestones': [4], 'gamma': 0.5},
        'train:total_iter': 4,
        'val:val_freq': 1000,
        'logger': {'print_freq': 1, 'save_checkpoint_freq': 1000, 'use_tb_logger': False},
    },
)


def stock_options(pairs: Path, **changes: Any) -> dict[str, Any]:
    opt = copy.deepcopy(STOCK)
    for phase in opt['datasets'].values():
        phase.update(dataroot_gt=str(pairs / 'clean'), dataroot_lq=str(pairs / 'rainy'))
    return update(opt, changes)


def sapd_options(pairs: Path, store: Path, vgg: Path | None = None, **changes: Any) -> dict[str, Any]:
    """The stock options and the delta that a user adds."""
    opt = stock_options(pairs)
    opt.update(
        name='sapd',
        model_type='SAPDModel',
        network_spf={'type': 'SPF', 'fusion': 'image', 'mask_dropout': 0, 'planes': 4},
    )
    opt['datasets']['train'].update(type='PairedImageMaskDataset', mask_store=str(store))
    opt['train']['spd_opt'] = {'type': 'SPDLoss', 'loss_weight': 0.5, 'gate': 'none'}  # acts from the first step
    opt['train']['sapd_opt'] = {'every': 1}
    if vgg is not None:
        opt['train']['sgr_opt'] = {'type': 'SGRLoss', 'loss_weight': 0.5, 'weights': str(vgg), 'every': 1}
    return update(opt, changes)


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


def training_set(opt: dict[str, Any], root: Path, phase: str = 'train') -> Any:
    return build_dataset(parsed(opt, root)['datasets'][phase])


def seeded(dataset: Any, index: int, seed: int) -> dict[str, Any]:
    """A sample from these random-number-generator states: of the stock dataset and ours it is the same patch."""
    random.seed(seed)
    torch.manual_seed(seed)
    return dataset[index]


def in_lmdb(pairs: Path, folder: Path) -> dict[str, Any]:
    """Make two LMDBs below ``folder``; returns the changes for the training set to read them."""
    changes: dict[str, Any] = {'datasets:train:io_backend': {'type': 'lmdb'}}
    for key, kind in (('gt', 'clean'), ('lq', 'rainy')):
        names = sorted(path.name for path in (pairs / kind).glob('*.png'))
        changes[f'datasets:train:dataroot_{key}'] = str(folder / f'{kind}.lmdb')
        make_lmdb_from_imgs(str(pairs / kind), str(folder / f'{kind}.lmdb'), names, [name[:-4] for name in names])
    return changes


def write_yaml(opt: dict[str, Any], path: Path, tagged: bool = False) -> Path:
    """Write options for a stock command; ``tagged`` loads the plugin from the YAML alone."""
    text = yaml.safe_dump(opt, sort_keys=False)
    if tagged:
        text = text.replace('model_type: SAPDModel', 'model_type: !!python/object/apply:sapd_plugin.use [SAPDModel]')
    path.write_text(text)
    return path


def run_here(main: Callable[[], None], opt: dict[str, Any], root: Path, *extra: str, file: Path | None = None) -> str:
    """Run the train or the test tool below ``root`` without the seconds that a process takes to start; returns the log."""
    log = logging.getLogger('basicsr')
    handlers = list(log.handlers)
    with (
        contextlib.chdir(root),
        mock.patch.object(sys, 'argv', ['basicsr', '-opt', str(write_yaml(opt, file or root / 'opt.yml')), *extra]),
        mock.patch.dict(basicsr_logger.initialized_logger, clear=True),  # else the log stays in the first run's folder
    ):
        try:
            main()
        finally:
            log.handlers[:] = handlers
    newest = max(root.glob(f'*/{opt["name"]}/*.log'), key=lambda path: path.stat().st_mtime_ns)
    return newest.read_text(encoding='utf-8')
