"""Types and ranges of the values of a BasicSR option tree that a training with SAM priors reads.

BasicSR itself checks none: text for a number, or a missing key, ends in a TypeError or KeyError, at worst at the first
validation. Values that a block's type takes (networks, losses, ...) are checked by
:func:`~sapd_plugin.core.building.check_block` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from basicsr.utils import FileClient

from sapd_plugin.errors import SAPDError, check_count, check_number
from sapd_plugin.names import check_folder_name
from sapd_plugin.priors.training import MASK_KINDS
from sapd_plugin.values import (
    Block,
    Count,
    File,
    Name,
    Natural,
    Positive,
    Seed,
    Share,
    Template,
    Valid,
    Weight,
    check_values,
    number,
    one_of,
)


def _check_devices(key: str, value: object) -> None:
    if value != 'auto':
        check_count(key, value, at_least=0)


def check_numbers(
    key: str, value: object, at_least: float = -float('inf'), whole: bool = False, above: float | None = None
) -> None:
    """Refuse a ``value`` of config key ``key`` that is not a list of numbers, or of integers. Raises SAPDError."""
    if not isinstance(value, Sequence) or isinstance(value, str) or not value:
        raise SAPDError(f'{key}: found {value!r}, expected a list of {"integers" if whole else "numbers"}.')
    for index, each in enumerate(value):
        if whole:
            check_count(f'{key}[{index}]', each, int(at_least))
        else:
            check_number(f'{key}[{index}]', each, at_least=at_least, above=above)


FolderName = Annotated[str, Valid(check_folder_name)]
Backend = Annotated[str, one_of(*FileClient._backends)]  # private to BasicSR; checked against 1.4.2
Steps = Annotated[float, number(at_least=1)]  # BasicSR's own configs write `!!float 5e3`
Channels = Annotated[Sequence[float], Valid(check_numbers)]
Counts = Annotated[Sequence[int], Valid(check_numbers, at_least=1, whole=True)]
Naturals = Annotated[Sequence[int], Valid(check_numbers, at_least=0, whole=True)]
Deviations = Annotated[Sequence[float], Valid(check_numbers, above=0)]
Weights = Annotated[Sequence[float], Valid(check_numbers, at_least=0)]

TOP = {
    'name': FolderName,
    'scale': Count,
    'num_gpu': Annotated[int | str, Valid(_check_devices)],
    'manual_seed': Seed | None,
    'find_unused_parameters': bool,
    'network_g': Block,
    'network_spf': Block,
    'datasets': Block,
    'path': Block,
    'train': Block,
    'val': Block | None,
    'logger': Block,
    'dist_params': Block | None,
}
REQUIRED = ('name', 'num_gpu', 'network_g', 'network_spf', 'datasets', 'path', 'train', 'logger')
TRAIN = {
    'ema_decay': Share,
    'total_iter': Steps,
    'warmup_iter': Annotated[int, number(at_least=-1)],
    'scheduler': Block,
    'optim_g': Block,
    'optim_d': Block,
    'optim_spf': Block | None,
    'pixel_opt': Block | None,
    'perceptual_opt': Block | None,
    'spd_opt': Block | None,
    'sgr_opt': Block | None,
    'spf_opt': Block | None,
    'sapd_opt': Block | None,
}
PATH = {'resume_state': File | None, 'param_key_g': Name | None}
VAL = {'val_freq': Steps, 'save_img': bool, 'pbar': bool, 'suffix': Name | None, 'metrics': Block | None}
LOGGER = {'print_freq': Steps, 'save_checkpoint_freq': Steps, 'use_tb_logger': bool, 'wandb': Block | None}
METRIC = {'crop_border': Natural, 'input_order': Annotated[str, one_of('HWC', 'CHW')], 'test_y_channel': bool}
METRIC |= {'better': Annotated[str, one_of('higher', 'lower')]}
SCHEDULER = {
    'milestones': Naturals,
    'gamma': Positive,
    'restarts': Naturals,
    'restart_weights': Weights,
    'periods': Counts,
    'eta_min': Weight,
    'eta_mins': Weights,
}
DATASET = {
    'name': Name,
    'type': Name,
    'dataroot_gt': File,
    'dataroot_lq': File | None,
    'meta_info_file': File | None,
    'filename_tmpl': Template,
    'io_backend': Block,
    'color': Name | None,
    'mean': Channels | None,
    'std': Deviations | None,
}
TRAINING_SET = {
    'gt_size': Count,
    'use_hflip': bool,
    'use_rot': bool,
    'num_worker_per_gpu': Natural,
    'batch_size_per_gpu': Count,
    'dataset_enlarge_ratio': Positive,
    'pin_memory': bool,
    'persistent_workers': bool,
    'prefetch_mode': Annotated[str, one_of('cpu', 'cuda')] | None,
    'num_prefetch_queue': Count,
    **MASK_KINDS,
}


def check_kinds(opt: Mapping[str, Any]) -> None:
    """Refuse options whose values have a wrong type or are out of range, and options without a key that is read.

    Args:
        opt: parsed or not by BasicSR's ``parse_options``.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    check_sections(opt)
    require('', opt, REQUIRED)
    check_values('', opt, TOP)
    require('train', opt['train'], ('total_iter', 'scheduler'))
    check_values('train', opt['train'], TRAIN)
    require('logger', opt['logger'], ('print_freq', 'save_checkpoint_freq', 'use_tb_logger'))
    check_values('logger', opt['logger'], LOGGER)
    if opt.get('val'):
        require('val', opt['val'], ('val_freq',))
        check_validation_kinds(opt)
    _check_datasets(opt['datasets'])


def check_validation_kinds(opt: Mapping[str, Any]) -> None:
    """Refuse a block ``val`` whose values have a wrong type, or without a key that validation and test read.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    check_values('', {'val': opt['val']}, {'val': Block})
    require('val', opt['val'], ('save_img',))
    check_values('val', opt['val'], VAL)
    for name, metric in (opt['val'].get('metrics') or {}).items():
        check_values('val.metrics', {name: metric}, {name: Block})
        check_values(f'val.metrics.{name}', metric, METRIC)


def check_sections(opt: Mapping[str, Any]) -> None:
    """Refuse options that BasicSR's parser itself cannot read. Raises SAPDError."""
    sections = ('name', 'num_gpu', 'datasets', 'path')
    require('', opt, sections)
    check_values('', {key: opt[key] for key in (*sections, 'manual_seed') if key in opt}, TOP)
    for phase, dataset in opt['datasets'].items():
        check_values('datasets', {phase: dataset}, {phase: Block})
        check_values(f'datasets.{phase}', dataset, {'dataroot_gt': File | None, 'dataroot_lq': File | None})
    for key, value in opt['path'].items():
        kinds = {**PATH, key: File | None} if 'pretrain_network' in str(key) else PATH
        check_values('path', {key: value}, {**kinds, key: bool} if 'strict_load' in str(key) else kinds)


def _check_datasets(datasets: Mapping[str, Any]) -> None:
    check_values('', {'datasets.train': datasets.get('train')}, {'datasets.train': Block})
    for phase, dataset in datasets.items():
        where = f'datasets.{phase}'
        if phase != 'train' and str(phase).split('_')[0] != 'val':
            raise SAPDError(f'{where}: found an unknown phase, expected train, val or val_NAME.')
        check_values('datasets', {phase: dataset}, {phase: Block})
        require(where, dataset, ('name', 'type'))
        check_values(where, dataset, DATASET)
        if 'io_backend' in dataset:
            require(f'{where}.io_backend', dataset['io_backend'], ('type',))
            check_values(f'{where}.io_backend', dataset['io_backend'], {'type': Backend})
        if phase == 'train':
            require(where, dataset, ('batch_size_per_gpu', 'num_worker_per_gpu'))
            check_values(where, dataset, TRAINING_SET)


def require(where: str, block: Mapping[str, Any], keys: Sequence[str]) -> None:
    """Refuse a block that lacks one of ``keys``; ``where`` is its key, or empty. Raises SAPDError."""
    for key in keys:
        if key not in block:
            raise SAPDError(f'{where}.{key}: missing.' if where else f'{key}: missing.')
