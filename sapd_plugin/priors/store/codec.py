"""The store's record of one label map: a header, then tiles that can be read one by one.

Layout, little-endian, version 1::

    header    magic 'SAPDMASK', version, sizes, 16-byte settings fingerprint (see `_HEADER`)
    tile ends uint32 per tile, raster order: where each tile's bytes end, from the first tile's begin
    tile crcs uint32 per tile: crc32 of those bytes
    regions   the region table, columns split into byte planes, deflated
    crc32     of all of the above
    tiles     of TILE x TILE pixels, smaller at the right and the bottom

Sizes of a decode are bounded by the size of the buffer (deflate expands by 1032 at most), whatever the header says.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import MAX_PIXELS, REGION_DTYPE, LabelMap, smallest_dtype
from sapd_plugin.priors.store.tiles import (
    MAX_TILE,
    RecordError,
    decode_tile,
    deflate,
    encode_tile,
    inflate,
    planes,
    unplanes,
)

__all__ = ['Record', 'RecordError', 'encode']

TILE = 128
VERSION = 1
FINGERPRINT_BYTES = 16
_MAGIC = b'SAPDMASK'
# Magic, version, tile side, height, width, regions, bytes of the region table, bytes of all tiles, fingerprint
_HEADER = struct.Struct('<8sHHIIIII16s')
_CRC = struct.Struct('<I')


class _Head(NamedTuple):
    height: int
    width: int
    tile: int
    regions: int
    fingerprint: bytes
    ends: np.ndarray
    crcs: np.ndarray
    table: memoryview
    tiles: memoryview


def encode(label_map: LabelMap, fingerprint: bytes) -> bytes:
    """Write a label map as one record. The same input gives the same bytes (with the same zlib).

    Args:
        label_map: any size.
        fingerprint: 16 bytes that name the settings the map was made with.

    Raises:
        SAPDError: a fingerprint of a different length, or labels beyond the region table.
    """
    labels, regions = label_map.labels, label_map.regions
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise SAPDError(f'fingerprint: found {len(fingerprint)} bytes, expected {FINGERPRINT_BYTES}.')
    if int(labels.max()) > len(regions):
        raise SAPDError(f'label map: found label {labels.max()}, expected at most {len(regions)} (its regions).')
    height, width = labels.shape
    stored = labels.astype(smallest_dtype(len(regions)).newbyteorder('<'), copy=False)
    tiles = [
        deflate(encode_tile(stored[y : y + TILE, x : x + TILE]))
        for y in range(0, height, TILE)
        for x in range(0, width, TILE)
    ]
    ends = np.cumsum([len(tile) for tile in tiles], dtype='<u4')
    crcs = np.array([zlib.crc32(tile) for tile in tiles], dtype='<u4')
    table = deflate(planes(np.ascontiguousarray(regions)))
    fixed = (VERSION, TILE, height, width, len(regions), len(table), int(ends[-1]), fingerprint)
    head = _HEADER.pack(_MAGIC, *fixed) + ends.tobytes() + crcs.tobytes() + table
    return b''.join([head, _CRC.pack(zlib.crc32(head)), *tiles])


class Record:
    """Read-only view of an encoded label map; opening it reads the header alone.

    Args:
        buffer: the bytes that `encode` gave.

    Raises:
        RecordError: this is not a complete header of version 1 with the right checksum. Reads raise it, too.

    >>> record = Record(encode(LabelMap.from_labels(np.eye(300, dtype=int)), bytes(16)))
    >>> record.shape, record[290:300, 295:300].shape, int(record[290:300, 295:300].sum())
    ((300, 300, 1), (10, 5, 1), 5)
    """

    def __init__(self, buffer: bytes | memoryview) -> None:
        self._head = _parse(memoryview(buffer))
        self._stored = smallest_dtype(self._head.regions).newbyteorder('<')
        # uint8 up to 255 regions, uint16 up to 65,535, int32 above: what OpenCV takes.
        self.dtype = np.dtype(np.int32) if self._stored.itemsize == 4 else self._stored.newbyteorder('=')
        # (H, W, 1), as an H x W x C image.
        self.shape = (self._head.height, self._head.width, 1)
        self.fingerprint = self._head.fingerprint

    @property
    def regions(self) -> np.ndarray:
        """The region table, (K,) of `REGION_DTYPE`; row k-1 is region k."""
        count = self._head.regions
        raw = inflate(self._head.table, count * REGION_DTYPE.itemsize, 'region table')
        if len(raw) != count * REGION_DTYPE.itemsize:
            raise RecordError(f'mask record: found a region table of {len(raw)} bytes for {count} regions.')
        return unplanes(raw, REGION_DTYPE)

    def labels(self) -> np.ndarray:
        """Return the complete map: (H,W), C-contiguous, of `dtype`."""
        return self[:, :][:, :, 0]

    def __getitem__(self, index: tuple) -> np.ndarray:
        """Read ``record[top:bottom, left:right]`` (a trailing ``...`` is allowed) without decoding the rest.

        Bounds follow numpy's slicing. Only the tiles that the crop touches are decompressed, and their checksums
        are verified.

        Returns:
            (h, w, 1), writable, C-contiguous, of `dtype`.

        Raises:
            IndexError: the index is not two slices of step 1.
            RecordError: a tile is damaged.
        """
        (top, bottom), (left, right) = _bounds(index, self.shape)
        crop = np.empty((max(bottom - top, 0), max(right - left, 0), 1), dtype=self.dtype)
        if crop.size == 0:
            return crop
        tile = self._head.tile
        across = -(-self.shape[1] // tile)
        for row in range(top // tile, -(-bottom // tile)):
            y0 = row * tile
            above, below = max(top, y0), min(bottom, y0 + tile)
            for column in range(left // tile, -(-right // tile)):
                x0 = column * tile
                before, after = max(left, x0), min(right, x0 + tile)
                pixels = self._tile(row * across + column, y0, x0)
                crop[above - top : below - top, before - left : after - left, 0] = pixels[
                    above - y0 : below - y0, before - x0 : after - x0
                ]
        return crop

    def check(self) -> None:
        """Verify the checksum of every tile without decoding it: about 10 microseconds per record of 321x481 pixels.

        Raises:
            RecordError: naming the first damaged tile.
        """
        for index in range(len(self._head.crcs)):
            self._bytes(index)

    def verify(self) -> None:
        """Read everything and compare the region table with the pixels.

        Raises:
            RecordError: the first thing that is wrong.
        """
        labels, regions = self.labels(), self.regions
        expected = LabelMap.from_labels(labels)
        if not np.array_equal(expected.labels, labels):
            raise RecordError('mask record: its labels are not 1, 2, ... by descending area.')
        for field in ('area', 'box'):
            if not np.array_equal(expected.regions[field], regions[field]):
                raise RecordError(f"mask record: the region table's {field} is not that of the pixels.")

    def _bytes(self, index: int) -> memoryview:
        head = self._head
        begin = int(head.ends[index - 1]) if index else 0
        stored = head.tiles[begin : head.ends[index]]
        if zlib.crc32(stored) != head.crcs[index]:
            raise RecordError(f'mask record: tile {index} is damaged (its checksum differs).')
        return stored

    def _tile(self, index: int, y0: int, x0: int) -> np.ndarray:
        head, stored = self._head, self._bytes(index)
        height, width = min(head.tile, head.height - y0), min(head.tile, head.width - x0)
        labels = decode_tile(stored, height, width, self._stored, head.regions)
        if labels is None:
            raise RecordError(f'mask record: tile {index} does not hold a label map of {head.regions} regions.')
        return labels


def _parse(buffer: memoryview) -> _Head:
    if len(buffer) < _HEADER.size or buffer[:8] != _MAGIC:
        raise RecordError(f'mask record: {len(buffer)} bytes that do not begin with a mask record header.')
    fixed = _HEADER.unpack_from(buffer)
    version, tile, height, width, regions, table_bytes, tiles_bytes, fingerprint = fixed[1:]
    if version != VERSION:
        raise RecordError(f'mask record: found format version {version}, expected {VERSION}.')
    if not (1 <= tile <= MAX_TILE and regions <= height * width and 1 <= height * width <= MAX_PIXELS):
        raise RecordError(f'mask record: impossible header: {height}x{width}, {regions} regions, tiles of {tile}.')
    count = -(-height // tile) * -(-width // tile)
    table_at = _HEADER.size + 8 * count
    head_bytes = table_at + table_bytes
    expected = head_bytes + _CRC.size + tiles_bytes
    if len(buffer) != expected:
        raise RecordError(f'mask record: found {len(buffer)} bytes, expected {expected}.')
    if zlib.crc32(buffer[:head_bytes]) != _CRC.unpack_from(buffer, head_bytes)[0]:
        raise RecordError('mask record: the header is damaged (its checksum differs).')
    ends = np.frombuffer(buffer, dtype='<u4', count=count, offset=_HEADER.size)
    if ends[-1] != tiles_bytes:
        raise RecordError(f'mask record: the tiles end at {ends[-1]}, expected {tiles_bytes}.')
    crcs = np.frombuffer(buffer, dtype='<u4', count=count, offset=_HEADER.size + 4 * count)
    table, tiles = buffer[table_at:head_bytes], buffer[head_bytes + _CRC.size :]
    return _Head(height, width, tile, regions, fingerprint, ends, crcs, table, tiles)


def _bounds(index: tuple, shape: tuple[int, int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    if not (isinstance(index, tuple) and (len(index) == 2 or (len(index) == 3 and index[2] is Ellipsis))):
        raise IndexError(f'mask record: found index {index!r}, expected [top:bottom, left:right].')
    rows, columns = index[:2]
    if not (isinstance(rows, slice) and isinstance(columns, slice)):
        raise IndexError(f'mask record: found index {index!r}, expected two slices.')
    top, bottom, down = rows.indices(shape[0])
    left, right, along = columns.indices(shape[1])
    if down != 1 or along != 1:
        raise IndexError(f'mask record: found steps {down}, {along}, expected 1.')
    return (top, bottom), (left, right)
