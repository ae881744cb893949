"""Reading files of weights, with a sentence about what a file is instead."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.home import expanded

_HTML = (b'<!doctype html', b'<html', b'<?xml')
_LFS = b'version https://git-lfs'


def read_weights(key: str, path: str | os.PathLike[str], expected: str) -> dict[str, Any]:
    """Read a state dict, or a mapping that holds one, on the CPU and without running code from the file.

    Args:
        key: config key or option that names the file, for messages.
        path: the file.
        expected: what it should hold, for messages: 'VGG-19 weights'.

    Raises:
        SAPDError: there is no such file, or it does not hold a mapping with text as keys.
    """
    import torch

    file = expanded(path)
    if not file.is_file():
        raise SAPDError(f'{key}: no file {path}, expected {expected}.')
    try:
        state = torch.load(file, map_location='cpu', weights_only=True)
    except Exception as error:  # torch and pickle raise many kinds
        raise SAPDError(f'{key}: {path} {_fault(file, error)}, expected {expected}.') from error
    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise SAPDError(f'{key}: {path} holds a {type(state).__name__}, expected {expected}.')
    return dict(state)


def _fault(path: Path, error: Exception) -> str:
    """Return what is wrong with a file that torch cannot read."""
    with path.open('rb') as file:
        head = file.read(512).lstrip()
        size = file.seek(0, os.SEEK_END)
    if not size:
        return 'is empty'
    if head.lower().startswith(_HTML):
        return 'is a web page, perhaps of a failed download'
    if head.startswith(_LFS):
        return 'is a pointer of Git LFS and not the file itself'
    if head.startswith(b'PK'):
        return f'is damaged or was not downloaded to its end ({size} bytes)'
    reason = [*str(error).strip().splitlines(), type(error).__name__][0]
    return f'is not a checkpoint ({reason[:200]})'
