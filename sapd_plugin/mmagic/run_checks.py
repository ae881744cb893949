"""Checks of what a run's config says besides the model and the data: optimizers, schedulers, lengths, files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import CodeType, TracebackType
from typing import Annotated, Any

from mmagic.registry import OPTIM_WRAPPERS, OPTIMIZERS, PARAM_SCHEDULERS
from mmengine.runner import Runner

from sapd_plugin.core import check_block
from sapd_plugin.errors import SAPDError, check_count, describe
from sapd_plugin.home import expanded
from sapd_plugin.values import OPTIMIZER_KINDS, Block, Count, Natural, Positive, Valid, Weight, check_values, number

# Of the optimizer wrapper's block, read by its constructor.
_OF_CONSTRUCTOR = ('type', 'optimizer', 'spf_optimizer', 'constructor', 'paramwise_cfg')


def _check_naturals(key: str, value: object) -> None:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise SAPDError(f'{key}: found {value!r}, expected a list of integers.')
    for index, each in enumerate(value):
        check_count(f'{key}[{index}]', each, at_least=0)


WRAPPER = {'accumulative_counts': Count, 'clip_grad': Block | None, 'paramwise_cfg': Block | None}
CLIP = {'max_norm': Positive, 'clip_value': Positive}
SCHEDULER = {
    'milestones': Annotated[Sequence[int], Valid(_check_naturals)],
    'gamma': Positive,
    'eta_min': Weight,
    'T_max': Count,
    'begin': Natural,
    'end': Annotated[float, number(at_least=1)],
    'by_epoch': bool,
}
LOOP = {'max_iters': Count, 'max_epochs': Count, 'val_interval': Count, 'val_begin': Natural}
LOADER = {'batch_size': Count, 'num_workers': Natural, 'persistent_workers': bool, 'dataset': Block}

# Method of the runner -> the part of the config that it reads.
_PARTS: dict[CodeType, str] = {
    getattr(Runner, method).__code__: part
    for method, part in {
        'build_model': 'model',
        'register_hooks': 'default_hooks or custom_hooks',
        'build_train_loop': 'train_cfg or train_dataloader',
        'build_val_loop': 'val_cfg, val_dataloader or val_evaluator',
        'build_optim_wrapper': 'optim_wrapper',
        'build_param_scheduler': 'param_scheduler',
        'load_or_resume': 'load_from or resume',
        'build_visualizer': 'visualizer',
        'setup_env': 'env_cfg',
        '_init_model_weights': 'model',
    }.items()
}


def check_run(config: Mapping[str, Any]) -> None:
    """Refuse values of a training's config that have a wrong type or are out of range.

    Raises:
        SAPDError: naming the key, what was found and what is expected.
    """
    loop, loader = config.get('train_cfg'), config.get('train_dataloader')
    for key, block, kinds in (('train_cfg', loop, LOOP), ('train_dataloader', loader, LOADER)):
        if block is not None:
            check_values('', {key: block}, {key: Block})
            check_values(key, block, kinds)
    check_values('', config, {'optim_wrapper': Block})
    wrapper = config.get('optim_wrapper')
    if isinstance(wrapper, Mapping) and 'optimizer' in wrapper:
        _check_wrapper(wrapper)
    schedulers = config.get('param_scheduler') or []
    several = isinstance(schedulers, Sequence)
    for index, block in enumerate(schedulers if several else [schedulers]):
        key = f'param_scheduler[{index}]' if several else 'param_scheduler'
        block = _without(block, 'convert_to_iter_based')
        check_block(key, block, PARAM_SCHEDULERS.get, PARAM_SCHEDULERS.module_dict, given=('optimizer', 'param_name'))
        check_values(key, block, SCHEDULER)
    start = config.get('load_from')
    check_values('', {'load_from': start}, {'load_from': str | None})
    if start and '://' not in start and not expanded(start).is_file():
        raise SAPDError(f'load_from: no file {start}, expected a checkpoint.')


def _check_wrapper(wrapper: Mapping[str, Any]) -> None:
    own = {**_without(wrapper, *_OF_CONSTRUCTOR), 'type': wrapper.get('type', 'OptimWrapper')}
    check_values('optim_wrapper', wrapper, WRAPPER)
    check_values('optim_wrapper.clip_grad', wrapper.get('clip_grad') or {}, CLIP)
    check_block('optim_wrapper', own, OPTIM_WRAPPERS.get, OPTIM_WRAPPERS.module_dict, given=('optimizer',))
    for name in ('optimizer', 'spf_optimizer'):
        if name in wrapper:
            key = f'optim_wrapper.{name}'
            block = _without(wrapper[name])
            check_block(key, block, OPTIMIZERS.get, OPTIMIZERS.module_dict, given=('params',))
            check_values(key, block, OPTIMIZER_KINDS)


def _without(block: Any, *names: str) -> Any:
    """Return a block without some keys, and without those that MMEngine's registries read themselves."""
    if not isinstance(block, Mapping):
        return block
    return {name: value for name, value in block.items() if name not in ('_scope_', *names)}


@contextmanager
def named_parts() -> Iterator[None]:
    """Name the part of the config that MMEngine's runner cannot build.

    Errors that do not come from building pass unchanged.

    Raises:
        SAPDError: naming the part, and the error.
    """
    try:
        yield
    except SAPDError:
        raise
    except Exception as error:
        part = _part_of(error.__traceback__)
        if part is None:
            raise
        raise SAPDError(f'{part}: cannot be built ({describe(error)}).') from error


def _part_of(traceback: TracebackType | None) -> str | None:
    while traceback is not None:
        if traceback.tb_frame.f_code in _PARTS:
            return _PARTS[traceback.tb_frame.f_code]
        traceback = traceback.tb_next
    return None
