"""Checks of a complete training's config before its runner is built.

Training and ``sapd check`` call the same function, so that one cannot refuse what the other takes. MMEngine itself
finds most of these mistakes late, some at the first validation, and names a class of its own instead of the key.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

from mmagic.registry import DATA_SAMPLERS, DATASETS, LOOPS, TRANSFORMS
from mmengine.dataset import DefaultSampler
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop
from torch.utils.data import DataLoader, RandomSampler, Sampler, SequentialSampler

from sapd_plugin.core import check_arguments_of
from sapd_plugin.errors import SAPDError, check_choice, check_keys
from sapd_plugin.home import expanded
from sapd_plugin.mmagic.misplaced import check_places
from sapd_plugin.mmagic.run_blocks import (
    check_evaluator,
    check_hooks,
    check_registered,
    check_schedulers,
    check_wrapper,
)
from sapd_plugin.values import Block, Count, Natural, Valid, check_values


def _check_level(key: str, value: object) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        check_choice(key, value, logging.getLevelNamesMapping())


TOP = {
    'model': Block,
    'optim_wrapper': Block,
    'train_cfg': Block,
    'train_dataloader': Block,
    'load_from': str | None,
    'resume': bool | None,  # MMagic's own configs write None
    'log_level': Annotated[str | int, Valid(_check_level)],
}
LOOP = {'max_iters': Count, 'max_epochs': Count, 'val_interval': Count, 'val_begin': Natural}
LOADER = {'batch_size': Count, 'num_workers': Natural, 'persistent_workers': bool, 'drop_last': bool, 'dataset': Block}
# Of the runner's build_dataloader, besides those of torch's loader.
_OF_LOADER = ('num_batch_per_epoch', 'disable_subprocess_warning', '_scope_')
WRAPPERS = {'times': Count}
TRANSFORM = {'gt_patch_size': Count}
_TRAINING = ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper')
_FINITE = (DefaultSampler, RandomSampler, SequentialSampler)


def run_checks(config: Mapping[str, Any]) -> None:
    """Refuse the config of a training with SAM priors that has a mistake outside of what its model checks.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    for key in _TRAINING:
        if config.get(key) is None:
            raise SAPDError(f'{key}: missing, expected the config of an MMagic training.')
    check_values('', config, TOP)
    check_places(config)
    for phase in ('val', 'test'):
        _check_complete(config, phase)
    _check_train_loop(config['train_cfg'])
    _check_loader('train_dataloader', config['train_dataloader'])
    if config.get('val_cfg') is not None:
        _check_validation(config)
    check_wrapper(config['optim_wrapper'])
    check_schedulers(config.get('param_scheduler'))
    check_hooks(config)
    start = config.get('load_from')
    if start and '://' not in start and not expanded(start).is_file():
        raise SAPDError(f'load_from: no file {start}, expected a checkpoint.')


def check_batches(dataset: Any, sampler: Any, batch_size: int | None, drop_last: bool) -> None:
    """Refuse a loader that gives no batch, with which training waits or ends without a step.

    Args:
        dataset: the training set.
        sampler: of the loader.
        batch_size: images per batch and process; None if a batch sampler decides.
        drop_last: whether the loader leaves out a batch that is not full.

    Raises:
        SAPDError: naming the key.
    """
    if not isinstance(sampler, _FINITE) or batch_size is None or not drop_last or len(sampler) >= batch_size:
        return
    raise SAPDError(
        f'train_dataloader.batch_size: found {batch_size}, but a process gets {len(sampler)} of {len(dataset)} images, '
        'and drop_last leaves out a batch that is not full, so no step would be made. Expected at most '
        f"{len(sampler)}, or sampler=dict(type='InfiniteSampler')."
    )


def _check_complete(config: Mapping[str, Any], phase: str) -> None:
    """Refuse a validation or test of which the config has a part only."""
    keys = [f'{phase}_{name}' for name in ('cfg', 'dataloader', 'evaluator')]
    there = [key for key in keys if config.get(key) is not None]
    if there and len(there) < len(keys):
        absent = next(key for key in keys if key not in there)
        raise SAPDError(f'{absent}: missing beside {" and ".join(there)}, expected all of {", ".join(keys)}, or none.')


def _check_train_loop(block: Mapping[str, Any]) -> None:
    given = ('runner', 'dataloader')
    if 'type' in block:
        if 'by_epoch' in block:
            raise SAPDError("train_cfg.by_epoch: found beside 'type', expected one of the two.")
        check_registered('train_cfg', block, LOOPS, given)
    else:
        check_values('train_cfg', {'by_epoch': block.get('by_epoch')}, {'by_epoch': bool})
        loop = EpochBasedTrainLoop if block['by_epoch'] else IterBasedTrainLoop
        arguments = {key: value for key, value in block.items() if key not in ('by_epoch', '_scope_')}
        check_arguments_of('train_cfg', arguments, loop, given)
    check_values('train_cfg', block, LOOP)


def _check_validation(config: Mapping[str, Any]) -> None:
    check_values('', config, {'val_cfg': Block})
    if 'type' in config['val_cfg']:
        check_registered('val_cfg', config['val_cfg'], LOOPS, ('runner', 'dataloader', 'evaluator'))
    for key, loader in _several('val_dataloader', config['val_dataloader']):
        _check_loader(key, loader)
    check_evaluator('val_evaluator', config['val_evaluator'])


def _check_loader(key: str, block: Any) -> None:
    if isinstance(block, DataLoader):
        return
    check_values('', {key: block}, {key: Block})
    check_keys(key, block, [*inspect.signature(DataLoader).parameters, *_OF_LOADER])
    for name in ('dataset', 'sampler'):
        if name not in block:
            raise SAPDError(f'{key}.{name}: missing, and the runner needs it.')
    check_values(key, block, LOADER)
    if not isinstance(block['sampler'], Sampler):
        check_registered(f'{key}.sampler', block['sampler'], DATA_SAMPLERS, ('dataset', 'seed'))
    _check_dataset(f'{key}.dataset', block['dataset'])


def _check_dataset(key: str, block: Any) -> None:
    """Check a data set, those that it wraps, and their pipelines."""
    if not isinstance(block, Mapping):
        return
    check_registered(key, block, DATASETS)
    check_values(key, block, WRAPPERS)
    _check_dataset(f'{key}.dataset', block.get('dataset'))
    for inner, each in _several(f'{key}.datasets', block.get('datasets')):
        _check_dataset(inner, each)
    for step, transform in _several(f'{key}.pipeline', block.get('pipeline')):
        if not callable(transform):
            check_registered(step, transform, TRANSFORMS)
            check_values(step, transform, TRANSFORM)


def _several(key: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the elements of a list with their keys; of anything else but None, itself."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        yield from ((f'{key}[{index}]', each) for index, each in enumerate(value))
    elif value is not None:
        yield key, value
