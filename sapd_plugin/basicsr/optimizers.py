"""Optimizers from config blocks: any of torch's, with gradient clipping."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sapd_plugin.core.stepping import before_each_step
from sapd_plugin.errors import SAPDError, check_choice, check_keys, describe
from sapd_plugin.values import OPTIMIZER_KINDS, Positive, check_arguments, check_values

CLIP = 'clip_grad_norm'
_UNFIT = ('Optimizer', 'LBFGS', 'SparseAdam')  # abstract; needs a closure; needs sparse gradients


def build_optimizer(optim_type: str, params: Any, lr: float | None = None, **kwargs: Any) -> Optimizer:
    """Build the optimizer that a block such as ``train.optim_g`` describes.

    Args:
        optim_type: a class of :mod:`torch.optim`: Adam, AdamW, SGD, ...
        params: parameters or parameter groups.
        lr: learning rate.
        **kwargs: the class's own arguments, and ``clip_grad_norm``: before each step, scale the gradients of this
            optimizer's parameters to a joint L2 norm of at most this. NAFNet, HINet and Restormer use 0.01.

    Raises:
        SAPDError: an unknown class or key, no learning rate, or a norm that is not a positive number.
    """
    check_optimizer('train.optim_*', {'type': optim_type, 'lr': lr, **kwargs})
    norm = kwargs.pop(CLIP, None)
    optimizer: Optimizer = _kinds()[optim_type](params, lr=lr, **kwargs)
    if norm is not None:

        def clip() -> None:
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group['params']], norm)

        before_each_step(optimizer, clip)
    return optimizer


def check_optimizer(where: str, block: Mapping[str, Any]) -> None:
    """Refuse an optimizer's block that :func:`build_optimizer` cannot build.

    Args:
        where: the block's config key, for messages.
        block: ``type``, ``lr`` and the class's own arguments.

    Raises:
        SAPDError: as :func:`build_optimizer`.
    """
    kinds, settings = _kinds(), dict(block)
    name, norm = settings.pop('type', None), settings.pop(CLIP, None)
    check_choice(f'{where}.type', name, kinds)
    if settings.get('lr') is None:
        raise SAPDError(f'{where}.lr: missing, expected the learning rate.')
    check_values(where, {**settings, CLIP: norm}, {**OPTIMIZER_KINDS, CLIP: Positive | None})
    kind = kinds[str(name)]
    check_keys(where, settings, [*(name for name in inspect.signature(kind).parameters if name != 'params'), CLIP])
    check_arguments(where, settings, kind)
    try:
        kind([nn.Parameter(torch.zeros(1, 1))], **settings)
    except (TypeError, ValueError, RuntimeError, LookupError) as error:
        raise SAPDError(f'{where}: torch refuses these settings of {name}: {describe(error)}.') from error


def _kinds() -> dict[str, Any]:
    found = inspect.getmembers(torch.optim, inspect.isclass)
    return {name: kind for name, kind in found if issubclass(kind, Optimizer) and name not in _UNFIT}
