"""Errors of MMEngine's runner in the user's words: the part of the config or the file that they come from."""

from __future__ import annotations

import errno
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import CodeType, FrameType, TracebackType
from typing import Any

from mmagic.engine.runner import MultiValLoop
from mmengine.runner import Runner, ValLoop

from sapd_plugin.errors import SAPDError, describe

# Method of the runner -> the part of the config that it reads.
_BUILDERS = {
    'build_model': 'model',
    'register_hooks': 'default_hooks or custom_hooks',
    'build_train_loop': 'train_cfg or train_dataloader',
    'build_val_loop': 'val_cfg, val_dataloader or val_evaluator',
    'build_dataloader': 'train_dataloader',
    'build_optim_wrapper': 'optim_wrapper',
    'build_param_scheduler': 'param_scheduler',
    'build_visualizer': 'visualizer',
    'build_logger': 'log_level',
    'build_log_processor': 'log_processor',
    'scale_lr': 'auto_scale_lr',
    'setup_env': 'env_cfg',
    'set_randomness': 'randomness',
    '_init_model_weights': 'model',
}


def _code(method: Callable[..., object]) -> CodeType:
    return inspect.unwrap(method).__code__


_PARTS = {_code(getattr(Runner, method)): part for method, part in _BUILDERS.items()}
_LOADS = {_code(Runner.load_checkpoint): 'load_from', _code(Runner.resume): 'resume'}
_VALIDATES = [_code(loop.run_iter) for loop in (ValLoop, MultiValLoop)]
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def named_parts() -> Iterator[None]:
    """Name the part of the config that MMEngine's runner cannot build, or the file that it cannot load or save.

    Other errors pass unchanged.

    Raises:
        SAPDError: naming the part or file, and the error.
    """
    try:
        yield
    except SAPDError:
        raise
    except Exception as error:
        found = _told(error, error.__traceback__)
        if found is None:
            raise
        raise SAPDError(found) from error


def _told(error: Exception, traceback: TracebackType | None) -> str | None:
    if isinstance(error, OSError) and error.errno in _NO_SPACE:
        what = error.filename or "a file of the run's work_dir"
        return f'{what} cannot be written ({error.strerror}). The last whole checkpoint is kept: make space and resume.'
    for frame in _frames(traceback):
        if frame.f_code in _LOADS:
            return f'{_LOADS[frame.f_code]}: {frame.f_locals["filename"]} cannot be loaded ({describe(error)}).'
        if frame.f_code in _VALIDATES and isinstance(error, (AssertionError, ValueError)):
            images = _images(frame.f_locals['data_batch'])
            return f'val_dataloader: validation fails for {images} ({describe(error)}).'
        if frame.f_code in _PARTS:
            return f'{_PARTS[frame.f_code]}: cannot be built ({describe(error)}).'
    return None


def _images(batch: Any) -> str:
    """Return the paths of a batch's images."""
    samples = batch.get('data_samples') if isinstance(batch, Mapping) else None
    infos = [getattr(sample, 'metainfo', {}) for sample in samples or []]
    return ', '.join(str(info.get('img_path') or info.get('gt_path')) for info in infos) or 'an image'


def _frames(traceback: TracebackType | None) -> Iterator[FrameType]:
    while traceback is not None:
        yield traceback.tb_frame
        traceback = traceback.tb_next
