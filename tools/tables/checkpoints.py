"""Checkpoints as authors publish them, in whatever they are wrapped."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from sapd_plugin.errors import SAPDError

WRAPPINGS = ('params_ema', 'params', 'state_dict', 'model', 'model_state_dict')
"""Keys under which a state dict may lie, first found first taken."""


def read_published(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network out of a file of its authors'.

    Returns:
        The state dict, on the CPU, without the ``module.`` of data-parallel training or MMagic's ``generator.``.

    Raises:
        SAPDError: no such file, or no weights in it.
    """
    if not path.is_file():
        raise SAPDError(f'--checkpoints: no file {path}, expected the checkpoint that the authors publish.')
    try:
        found = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:
        reason = ' '.join(str(error).split())[:300]
        raise SAPDError(f'{path}: cannot be read as a file of tensors: {type(error).__name__}: {reason}') from error
    for key in WRAPPINGS:
        if isinstance(found, Mapping) and isinstance(found.get(key), Mapping):
            found = found[key]
            break
    if not isinstance(found, Mapping) or not found or not all(isinstance(value, Tensor) for value in found.values()):
        raise SAPDError(f'{path}: found no weights, expected a state dict, bare or under {", ".join(WRAPPINGS)}.')
    state = dict(found)
    for prefix in ('module.', 'generator.'):
        if all(key.startswith(prefix) for key in state):
            state = {key[len(prefix) :]: value for key, value in state.items()}
    return state
