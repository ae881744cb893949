"""Permission for torch >= 2.6 to read what MMEngine writes.

Since 2.6, ``torch.load`` only creates objects of trusted classes by default. MMEngine's training states hold its own
log buffers and numpy arrays, so resuming and testing refuse its own files. Older torch reads everything, and needs and
gets nothing here.

A file can come from anyone. numpy's own functions for unpickling trust it: with the right dtype, they take bytes of
the file for pointers. So names of numpy and ``getattr`` stand for functions of this module, which accept numbers only,
copied from buffers whose length they check.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from mmengine.logging.history_buffer import HistoryBuffer

from sapd_plugin.core.archives import LOADS_TRUSTED_ONLY

# numpy 2 moved the functions; a file may come from either.
_NUMPY = ('numpy.core.multiarray', 'numpy._core.multiarray')
_MAX_DIMENSIONS = 32


def trust_own_checkpoints() -> None:
    """Trust the names in a training state of MMEngine, and no others; torch before 2.6 needs nothing."""
    if not LOADS_TRUSTED_ONLY:
        return
    names: list[Any] = [(_Buffer, 'mmengine.logging.history_buffer.HistoryBuffer')]
    names += [(_statistics_method, 'builtins.getattr'), (_no_bytes, 'builtins.bytes')]
    names += [(_Array, 'numpy.ndarray'), (_DType, 'numpy.dtype')]
    for module in _NUMPY:
        names += [(_reconstruct, f'{module}._reconstruct'), (_scalar, f'{module}.scalar')]
    torch.serialization.add_safe_globals(names)


class _DType:
    """numpy.dtype in a file: the dtype of plain numbers."""

    dtype = np.dtype('u1')

    def __init__(self, code: object = None, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not re.fullmatch(r'[biufc]\d{1,2}', code):
            raise ValueError(f'a checkpoint has an array of {code!r}, expected numbers.')
        self.dtype = np.dtype(code)

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, no sub-array, no names, no fields, sizes and flags, which numbers do not need)
        if not isinstance(state, tuple) or len(state) != 8 or state[1] not in ('<', '>', '|', '='):
            raise ValueError('a checkpoint has a damaged dtype.')
        if any(part is not None for part in state[2:5]):
            raise ValueError('a checkpoint has an array of several fields, expected numbers.')
        self.dtype = self.dtype.newbyteorder(state[1])

    def __reduce__(self) -> Any:
        return self.dtype.__reduce__()


class _Array(np.ndarray):
    """numpy.ndarray in a file: an array of numbers; saved again, it is numpy's own."""

    def __new__(cls) -> _Array:
        """Return an empty array, whatever it is called with: only its state fills it."""
        return super().__new__(cls, (0,), 'u1')

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state
        if not isinstance(dtype, _DType) or not isinstance(fortran, bool):
            raise ValueError('a checkpoint has a damaged array.')
        if not isinstance(shape, tuple) or len(shape) > _MAX_DIMENSIONS or not all(map(_is_length, shape)):
            raise ValueError(f'a checkpoint has an array of the shape {shape!r}.')
        values = _numbers(dtype, math.prod(shape), data)
        super().__setstate__((1, shape, values.dtype, fortran, values.tobytes()))

    def __reduce_ex__(self, protocol: Any) -> Any:
        return np.array(self, subok=False).__reduce_ex__(protocol)


class _Buffer(HistoryBuffer):
    """HistoryBuffer in a file; afterwards, it is MMEngine's own."""

    def __setstate__(self, state: Any) -> None:
        """Take the numbers; the methods that a file names are those that every buffer has."""
        log, count, length = (state.get(name) for name in ('_log_history', '_count_history', 'max_length'))
        if not isinstance(log, np.ndarray) or not isinstance(count, np.ndarray) or not isinstance(length, int):
            raise ValueError('a checkpoint has a damaged log.')
        self.__class__ = HistoryBuffer  # type: ignore[assignment]
        HistoryBuffer.__init__(self, log, count, length)


def _reconstruct(kind: object, shape: object, code: object) -> _Array:
    """Replace numpy's function of this name, which makes the empty array that a state is then put into."""
    if kind is not _Array:
        raise ValueError(f'a checkpoint has an array of the class {kind!r}, expected numpy.ndarray.')
    return _Array()


def _scalar(dtype: object, data: object) -> Any:
    """Replace numpy's function of this name."""
    if not isinstance(dtype, _DType):
        raise ValueError('a checkpoint has a damaged number.')
    return _numbers(dtype, 1, data)[0]


def _numbers(dtype: _DType, count: int, data: object) -> np.ndarray:
    """Copy ``count`` numbers from bytes of exactly that length."""
    if not isinstance(data, bytes) or len(data) != count * dtype.dtype.itemsize:
        raise ValueError(f'a checkpoint has an array whose bytes are not {count} numbers of {dtype.dtype}.')
    return np.frombuffer(data, dtype.dtype).copy()


def _no_bytes() -> bytes:
    """Replace bytes, which the data of an empty array are pickled as a call of."""
    return b''


def _is_length(side: object) -> bool:
    return isinstance(side, int) and not isinstance(side, bool) and 0 <= side < 2**40


def _statistics_method(owner: object, name: str) -> Callable[..., object]:
    """Replace getattr, with which a log buffer refers to its methods, but a malicious file to anything.

    ``_statistics_methods`` is private to MMEngine; checked against 0.10.7.
    """
    method = HistoryBuffer()._statistics_methods.get(name)  # the first instance fills the table
    if owner is not _Buffer or method is None:
        raise ValueError(f'a checkpoint asks for {name!r} of {owner!r}, which no training state of MMEngine contains.')
    return method
