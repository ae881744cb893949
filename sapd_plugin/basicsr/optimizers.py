"""Optimizers from config blocks: any of torch's, with gradient clipping."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from sapd_plugin.errors import SAPDError, check_choice, check_keys

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
    where = 'train.optim_*'
    found = inspect.getmembers(torch.optim, inspect.isclass)
    kinds: dict[str, Any] = {name: kind for name, kind in found if issubclass(kind, Optimizer) and name not in _UNFIT}
    check_choice(f'{where}.type', optim_type, kinds)
    kind = kinds[optim_type]
    norm = kwargs.pop(CLIP, None)
    known = [name for name in inspect.signature(kind).parameters if name != 'params']
    check_keys(where, kwargs, [*known, CLIP])
    if lr is None:
        raise SAPDError(f'{where}.lr: missing, expected the learning rate.')
    if norm is not None and (isinstance(norm, bool) or not isinstance(norm, (int, float)) or not norm > 0):
        raise SAPDError(f'{where}.{CLIP}: found {norm!r}, expected a positive number. (YAML: 0.01, not 1e-2)')
    optimizer: Optimizer = kind(params, lr=lr, **kwargs)
    if norm is not None:

        def clip(optimizer: Optimizer, args: Any, kwargs: Any) -> None:
            nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group['params']], norm)

        optimizer.register_step_pre_hook(clip)
    return optimizer
