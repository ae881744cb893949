"""Tiles of a record: row runs, deflated.

A tile, at most 256 pixels wide, holds all lengths minus one as bytes (a run ends with its row), then all labels, low
bytes first, then the next higher bytes; deflated together. This is at least a fifth smaller than deflated pixels, and a
single `numpy.repeat` unpacks it.
"""

from __future__ import annotations

import zlib

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import row_runs


class RecordError(SAPDError):
    """A record that is truncated, altered, of a different format or of a newer version."""


def encode_tile(labels: np.ndarray) -> bytes:
    """Write a (height, width) unsigned little-endian label image; undone by `decode_tile`."""
    runs = row_runs(labels)
    return (runs.length - 1).astype(np.uint8).tobytes() + planes(runs.value)


def decode_tile(stored: memoryview, height: int, width: int, dtype: np.dtype, highest: int) -> np.ndarray | None:
    """Return (height, width) labels, or None if the bytes do not hold that many labels 0..``highest``."""
    raw = inflate(stored, height * width * (1 + dtype.itemsize), 'tile')
    count = len(raw) // (1 + dtype.itemsize)
    if count == 0 or len(raw) != count * (1 + dtype.itemsize):
        return None
    lengths = np.add(np.frombuffer(raw, np.uint8, count), 1, dtype=np.intp)
    values = unplanes(memoryview(raw)[count:], dtype)
    if np.maximum.reduce(values) > highest:
        return None
    labels = values.repeat(lengths)
    return labels.reshape(height, width) if labels.size == height * width else None


def planes(values: np.ndarray) -> bytes:
    """Split values into byte planes, which compress better: all first bytes, then all second bytes, ..."""
    return np.ascontiguousarray(values.view(np.uint8).reshape(len(values), values.dtype.itemsize).T).tobytes()


def unplanes(raw: bytes | memoryview, dtype: np.dtype) -> np.ndarray:
    """Undo `planes`."""
    if dtype == np.uint8:
        return np.frombuffer(raw, dtype=np.uint8)
    columns = np.frombuffer(raw, dtype=np.uint8).reshape(dtype.itemsize, -1)
    return np.ascontiguousarray(columns.T).view(dtype).reshape(-1)


def deflate(raw: bytes) -> bytes:
    """Compress, without the zlib wrapper: every tile has its own crc32 already."""
    deflater = zlib.compressobj(9, zlib.DEFLATED, -15)
    return deflater.compress(raw) + deflater.flush()


def inflate(stored: memoryview, limit: int, what: str) -> bytes:
    """Inflate at most ``limit`` bytes, so that no record can exhaust the memory."""
    inflater = zlib.decompressobj(-15)
    try:
        raw = inflater.decompress(stored, limit + 1)
    except zlib.error as error:
        raise RecordError(f'mask record: a {what} does not decompress ({error}).') from error
    if len(raw) > limit or not inflater.eof or inflater.unused_data:
        raise RecordError(f'mask record: the size of a {what} differs from its header.')
    return raw
