"""Checkpoints as authors publish them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sapd_plugin.archs.weights import network_weights
from sapd_plugin.errors import SAPDError


def read_published(path: Path) -> dict[str, Tensor]:
    """Read the weights of a network out of a file of its authors'.

    Returns:
        The state dict, on the CPU.

    Raises:
        SAPDError: no such file, or no weights in it.
    """
    if not path.is_file():
        raise SAPDError(f'--checkpoints: no file {path}, expected the checkpoint that the authors publish.')
    try:
        return network_weights(torch.load(path, map_location='cpu', weights_only=True))
    except SAPDError as error:
        raise SAPDError(f'{path}: {error}') from error
    except Exception as error:
        reason = ' '.join(str(error).split())[:300]
        raise SAPDError(f'{path}: cannot be read as a file of tensors: {type(error).__name__}: {reason}') from error
