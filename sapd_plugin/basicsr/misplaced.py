"""Keys that BasicSR would ignore: misspelt, or ours in a block where nothing reads them."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any

from sapd_plugin.basicsr.option_kinds import DATASET, LOGGER, TOP, TRAIN, TRAINING_SET, VAL
from sapd_plugin.core import SPF, SGRLoss, SPDLoss, StepSettings
from sapd_plugin.errors import SAPDError, misspelt
from sapd_plugin.priors.training import MASK_KEYS

TOP_KEYS = ('network_spf', 'base_model_type')
DATASET_KEYS = (*MASK_KEYS, 'base_dataset_type')
TRAIN_KEYS = ('spf_opt', 'spd_opt', 'sgr_opt', 'sapd_opt', 'optim_spf')
# Block -> keys of ours that belong to it.
BLOCKS = {'': TOP_KEYS, 'train': TRAIN_KEYS, 'datasets.train': DATASET_KEYS}
# Block -> its keys, whose names a user's own model may have, too.
INNER = {
    'network_spf': tuple(inspect.signature(SPF).parameters),
    'train.sapd_opt': tuple(field.name for field in fields(StepSettings)),
    'train.spd_opt': tuple(inspect.signature(SPDLoss).parameters),
    'train.sgr_opt': tuple(inspect.signature(SGRLoss).parameters),
}
OF_MMAGIC = {f'{loss}_loss': f'{loss}_opt' for loss in ('spd', 'sgr', 'spf')}
# Block -> keys that BasicSR 1.4.2 reads there, or adds itself.
_ADDED = ('dist', 'rank', 'world_size', 'auto_resume', 'is_train', 'root_path')
_GAN = ('gan_opt', 'ldl_opt', 'feature_matching_opt', 'net_d_iters', 'net_d_init_iters')
_PATHS = ('resume_state', 'ignore_resume_networks', 'experiments_root', 'models', 'training_states', 'log')
_NETWORKS = [f'{key}_{name}' for key in ('pretrain_network', 'param_key', 'strict_load') for name in ('g', 'd', 'spf')]
READ_BY_BASICSR: dict[str, tuple[str, ...]] = {
    '': (*TOP, *_ADDED, 'model_type', 'network_d'),
    'train': (*TRAIN, *_GAN),
    'val': (*VAL, 'center_frame_only', 'flip_seq', 'num_val_samples'),
    'logger': tuple(LOGGER),
    'path': (*_PATHS, 'visualization', *_NETWORKS),
    'datasets': (*DATASET, *TRAINING_SET, 'phase', 'scale', 'base_dataset_type', 'sigma', 'clip', 'seed'),
}


def refuse_misspelt(opt: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse misspelt keys, which BasicSR would ignore as it ignores all unknown ones.

    Args:
        opt: BasicSR's options.
        known: the blocks whose readers are known, so that a key which resembles one of BasicSR's is a mistake, too. In
            other blocks, a user's own model or data set may read it.

    Raises:
        SAPDError: naming the key and the right one.
    """
    for where in dict.fromkeys((*BLOCKS, *known)):
        ours, read = BLOCKS.get(where, ()), READ_BY_BASICSR['datasets' if where.startswith('datasets.') else where]
        valid = (*ours, *read) if where in known else ours
        for key in block_at(opt, where):
            if key not in read and (near := misspelt(key, valid)):
                raise SAPDError(f"{_path(where, key)}: unknown key. Did you mean '{_path(where, near)}'?")


def refuse_misplaced(opt: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse keys of ours in a block where nothing reads them, unless the right block has the same value, too.

    Args:
        opt: BasicSR's options.
        known: the blocks whose readers are known, so that a key of :data:`INNER` there is a mistake.

    Raises:
        SAPDError: naming the key and the right place.
    """
    for where in BLOCKS:
        for key, value in block_at(opt, where).items():
            name = OF_MMAGIC.get(key, key)
            homes = [home for home, keys in BLOCKS.items() if name in keys]
            if not homes and where in known:
                homes = [home for home, keys in INNER.items() if name in keys]
            if not homes or (where, key) in ((home, name) for home in homes):
                continue
            if not any(name in block_at(opt, home) and block_at(opt, home)[name] == value for home in homes):
                right = "' or '".join(_path(home, name) for home in homes)
                raise SAPDError(f"{_path(where, key)}: nothing reads this key here. Did you mean '{right}'?")


def _path(where: str, key: str) -> str:
    return f'{where}.{key}' if where else key


def block_at(opt: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the block at a key such as ``train.spd_opt``, or an empty mapping if the options lack it."""
    block: Any = opt
    for key in filter(None, where.split('.')):
        block = block.get(key) if isinstance(block, Mapping) else None
    return block if isinstance(block, Mapping) else {}
