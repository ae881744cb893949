"""Checks of the blocks that MMEngine's runner builds from its registries: optimizers, schedulers, hooks, metrics."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Annotated, Any

import torch
from mmagic.registry import EVALUATORS, HOOKS, METRICS, OPTIM_WRAPPERS, OPTIMIZERS, PARAM_SCHEDULERS, VISUALIZERS
from mmengine.evaluator import BaseMetric
from mmengine.hooks import CheckpointHook, Hook, LoggerHook
from mmengine.registry import Registry

from sapd_plugin.core import check_arguments_of, check_block
from sapd_plugin.errors import SAPDError, check_count, nearest
from sapd_plugin.mmagic.options import find_registered
from sapd_plugin.values import (
    OPTIMIZER_KINDS,
    Block,
    Count,
    Natural,
    Positive,
    Valid,
    Weight,
    check_names,
    check_values,
    number,
    one_of,
)

# Constructors of the optimizer wrapper, and keys of its block that they read.
_CONSTRUCTORS = ('DefaultOptimWrapperConstructor', 'SAPDOptimWrapperConstructor')
_OF_CONSTRUCTOR = ('type', 'optimizer', 'spf_optimizer', 'constructor', 'paramwise_cfg')


def _check_naturals(key: str, value: object) -> None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise SAPDError(f'{key}: found {value!r}, expected a list of integers.')
    for index, each in enumerate(value):
        check_count(f'{key}[{index}]', each, at_least=0)


WRAPPER = {'accumulative_counts': Count, 'clip_grad': Block | None, 'paramwise_cfg': Block | None}
CLIP = {'type': Annotated[str, one_of('norm', 'value')], 'max_norm': Positive, 'clip_value': Positive}
SCHEDULER = {
    'milestones': Annotated[Sequence[int], Valid(_check_naturals)],
    'gamma': Positive,
    'eta_min': Weight,
    'T_max': Count,
    'begin': Natural,
    'end': Annotated[float, number(at_least=1)],
    'by_epoch': bool,
}
METRIC = {'crop_border': Natural}
# Of MMEngine's own two; MMagic has hooks whose interval is a block.
HOOK = {'interval': int, 'max_keep_ckpts': int, 'save_begin': Natural, 'by_epoch': bool}


def check_registered(key: str, block: Any, registry: Registry, given: Sequence[str] = (), *others: str) -> None:
    """Refuse a block whose type a registry does not have, or whose arguments its type does not take.

    Args:
        key: config key of the block, for messages.
        block: to check.
        registry: MMagic's, which also has MMEngine's types.
        given: names of the arguments that the runner passes.
        *others: keys that the runner reads itself.

    Raises:
        SAPDError: naming the key, what was found and the nearest valid name.
    """
    check_block(key, _without(block, *others), partial(find_registered, registry), _names(registry), given)


def check_wrapper(wrapper: Mapping[str, Any]) -> None:
    """Refuse an invalid ``optim_wrapper``. Raises SAPDError."""
    if 'optimizer' not in wrapper:
        return
    check_values('optim_wrapper', wrapper, WRAPPER)
    clip = wrapper.get('clip_grad')
    if clip is not None:
        check_values('optim_wrapper.clip_grad', clip, CLIP)
        by_value = clip.get('type') == 'value'
        clipping = torch.nn.utils.clip_grad_value_ if by_value else torch.nn.utils.clip_grad_norm_
        check_arguments_of('optim_wrapper.clip_grad', _without(clip, 'type'), clipping, given=('parameters',))
    if wrapper.get('constructor', _CONSTRUCTORS[0]) in _CONSTRUCTORS:  # a user's own may read keys of its own
        own = {**_without(wrapper, *_OF_CONSTRUCTOR), 'type': wrapper.get('type', 'OptimWrapper')}
        check_registered('optim_wrapper', own, OPTIM_WRAPPERS, ('optimizer',))
    for name in ('optimizer', 'spf_optimizer'):
        if name in wrapper:
            check_registered(f'optim_wrapper.{name}', wrapper[name], OPTIMIZERS, ('params',))
            check_values(f'optim_wrapper.{name}', wrapper[name], OPTIMIZER_KINDS)


def check_schedulers(schedulers: Any) -> None:
    """Refuse an invalid ``param_scheduler``, a block or a list of them. Raises SAPDError."""
    schedulers = schedulers or []
    several = isinstance(schedulers, Sequence)
    for index, block in enumerate(schedulers if several else [schedulers]):
        key = f'param_scheduler[{index}]' if several else 'param_scheduler'
        check_registered(key, block, PARAM_SCHEDULERS, ('optimizer', 'param_name'), 'convert_to_iter_based')
        check_values(key, block, SCHEDULER)


def check_hooks(config: Mapping[str, Any]) -> None:
    """Refuse invalid hooks, a metric to watch that validation does not report, and an invalid visualizer.

    Raises:
        SAPDError: naming the key.
    """
    for key in ('default_hooks', 'visualizer'):
        check_values('', {key: config.get(key)}, {key: Block | None})
    custom = config.get('custom_hooks') or []
    if isinstance(custom, str) or not isinstance(custom, Sequence):
        raise SAPDError(f'custom_hooks: found {custom!r}, expected a list of blocks.')
    hooks = {f'default_hooks.{name}': block for name, block in (config.get('default_hooks') or {}).items()}
    hooks |= {f'custom_hooks[{index}]': block for index, block in enumerate(custom)}
    for key, block in hooks.items():
        if block is not None and not isinstance(block, Hook):
            check_registered(key, block, HOOKS, (), 'priority')
            kind = find_registered(HOOKS, block['type'])
            if isinstance(kind, type) and issubclass(kind, (CheckpointHook, LoggerHook)):
                check_values(key, block, HOOK)
            for watched in ('save_best', 'monitor'):
                _check_watched(f'{key}.{watched}', block.get(watched), config.get('val_evaluator'))
    visualizer = config.get('visualizer')
    if visualizer is not None:
        check_registered('visualizer', visualizer, VISUALIZERS)


def check_evaluator(key: str, evaluator: Any) -> None:
    """Refuse an invalid evaluator: a metric, a list of them, or a block with ``metrics``, and lists of these.

    Raises:
        SAPDError: naming the key.
    """
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        check_registered(key, {'type': 'Evaluator', **evaluator}, EVALUATORS)
    for where, metric in _metrics(key, evaluator):
        if not isinstance(metric, BaseMetric):
            check_registered(where, metric, METRICS)
            check_values(where, metric, METRIC)


def _metrics(key: str, evaluator: Any) -> Iterator[tuple[str, Any]]:
    """Yield the metrics of an evaluator and their keys."""
    if isinstance(evaluator, Mapping) and 'metrics' in evaluator:
        yield from _metrics(f'{key}.metrics', evaluator['metrics'])
    elif isinstance(evaluator, Sequence) and not isinstance(evaluator, str):
        for index, each in enumerate(evaluator):
            yield from _metrics(f'{key}[{index}]', each)
    elif evaluator is not None:
        yield key, evaluator


def _check_watched(key: str, names: Any, evaluator: Any) -> None:
    """Refuse the name of a metric that validation does not report, as far as its metrics tell their names."""
    if names is None or names == 'auto':
        return
    check_names(key, names, several=False)
    found = [_reported(metric) for _, metric in _metrics('val_evaluator', evaluator)]
    reported = [name for name in found if name is not None]
    if len(reported) < len(found) or not found:  # without validation, MMEngine does not look at it
        return
    for name in [names] if isinstance(names, str) else names:
        if name not in ('auto', *reported):
            known = ', '.join(reported)
            raise SAPDError(
                f'{key}: found {name!r}, expected what val_evaluator reports: {known}.{nearest(name, reported)}'
            )


def _reported(metric: Any) -> str | None:
    """Return the name under which a metric is reported; None if only its own code knows."""
    if not isinstance(metric, Mapping):
        return None
    kind = find_registered(METRICS, metric.get('type'))
    name = getattr(kind, 'metric', None)
    prefix = metric.get('prefix') or getattr(kind, 'default_prefix', None)
    if not isinstance(name, str):
        return None
    return f'{prefix}/{name}' if prefix else name


def _names(registry: Registry | None) -> Iterator[str]:
    while registry is not None:
        yield from registry.module_dict
        registry = registry.parent


def _without(block: Any, *names: str) -> Any:
    """Return a block without some keys, and without those that MMEngine's registries read themselves."""
    if not isinstance(block, Mapping):
        return block
    return {name: value for name, value in block.items() if name not in ('_scope_', *names)}
