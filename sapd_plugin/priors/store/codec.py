"""The store's record of one label map: a header, then tiles that can be read one by one.

Layout, little-endian, versions 1 to 3::

    header    magic 'SAPDMASK', version, sizes, 16-byte settings fingerprint (see `_HEADER`)
    digests   from version 3 on: of the segmented image's pixels and of its file, 16 bytes each (see `ImageDigests`)
    tile ends uint32 per tile, raster order: end of each tile's bytes, from the start of the first
    tile crcs uint32 per tile: crc32 of those bytes
    tables    of regions and, from version 2 on, of their colors; columns split into byte planes; deflated together
    crc32     of all of the above
    tiles     of TILE x TILE pixels, smaller at the right and bottom edges

Whatever the header says, the buffer's size bounds that of the label map: a tile takes 8 bytes of the numbers and at
least 3 of its own, so n bytes hold at most 1,490 n pixels. A large photo of one region takes 17 bytes per tile, and 100
megapixels of it 104 kB.
"""

from __future__ import annotations

import struct
import zlib

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.context import region_context
from sapd_plugin.priors.labels import COLOR_DTYPE, MAX_PIXELS, REGION_DTYPE, LabelMap, smallest_dtype
from sapd_plugin.priors.store.digests import DIGEST_BYTES, ImageDigests
from sapd_plugin.priors.store.tiles import (
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
_LEAST_TILE_BYTES = 3
WITHOUT_COLORS, WITH_COLORS, WITH_DIGESTS = 1, 2, 3
FINGERPRINT_BYTES = 16
_MAGIC = b'SAPDMASK'
# Magic, version, tile side, height, width, regions, bytes of the tables, bytes of all tiles, fingerprint
_HEADER = struct.Struct('<8sHHIIIII16s')
_UINT32 = struct.Struct('<I')


def encode(label_map: LabelMap, fingerprint: bytes, digests: ImageDigests | None = None) -> bytes:
    """Write a label map as one record: of version 3 with digests, else of version 2 if it has colors.

    The same input gives the same bytes (with the same zlib).

    Args:
        label_map: with colors if there are digests.
        fingerprint: the 16-byte hash of the settings that the map was made with.
        digests: of the image that was segmented.

    Raises:
        SAPDError: a fingerprint or digest of a different length, labels beyond the region table, or another number of
            colors.
    """
    labels, regions, colors = label_map.labels, label_map.regions, label_map.colors
    if len(fingerprint) != FINGERPRINT_BYTES:
        raise SAPDError(f'fingerprint: found {len(fingerprint)} bytes, expected {FINGERPRINT_BYTES}.')
    if int(labels.max()) > len(regions):
        raise SAPDError(f'label map: found label {labels.max()}, expected at most {len(regions)} (its regions).')
    if colors is not None and len(colors) != len(regions) + 1:
        raise SAPDError(f'label map: found {len(colors)} rows of colors, expected {len(regions) + 1}.')
    if digests is not None and (colors is None or any(len(digest) != DIGEST_BYTES for digest in digests)):
        raise SAPDError(f'label map: found digests {digests}, expected 2 of {DIGEST_BYTES} bytes, and colors.')
    height, width = labels.shape
    stored = labels.astype(smallest_dtype(len(regions)).newbyteorder('<'), copy=False)
    tiles = [
        deflate(encode_tile(stored[y : y + TILE, x : x + TILE]))
        for y in range(0, height, TILE)
        for x in range(0, width, TILE)
    ]
    ends = np.cumsum([len(tile) for tile in tiles], dtype='<u4')
    crcs = np.array([zlib.crc32(tile) for tile in tiles], dtype='<u4')
    table = deflate(b''.join(planes(np.ascontiguousarray(t)) for t in (regions, colors) if t is not None))
    version = WITHOUT_COLORS if colors is None else WITH_COLORS if digests is None else WITH_DIGESTS
    fixed = (version, TILE, height, width, len(regions), len(table), int(ends[-1]), fingerprint)
    head = _HEADER.pack(_MAGIC, *fixed) + b''.join(digests or ()) + ends.tobytes() + crcs.tobytes() + table
    return b''.join([head, _UINT32.pack(zlib.crc32(head)), *tiles])


class Record:
    """Read-only view of an encoded label map; opening it reads only the header.

    Args:
        buffer: the bytes that `encode` gave.

    Raises:
        RecordError: not a complete header of a known version with the right checksum. Reads raise it, too.

    >>> record = Record(encode(LabelMap.from_labels(np.eye(300, dtype=int)), bytes(16)))
    >>> record.shape, record[290:300, 295:300].shape, int(record[290:300, 295:300].sum())
    ((300, 300, 1), (10, 5, 1), 5)
    """

    # Between the images of a batch, little of the code below is in the processor's cache, so each call costs several
    # times what it costs in a loop. Hence numbers are unpacked one by one, as they are needed, and by struct.

    def __init__(self, buffer: bytes | memoryview) -> None:
        buffer = memoryview(buffer)
        if len(buffer) < _HEADER.size or buffer[:8] != _MAGIC:
            raise RecordError(f'mask record: {len(buffer)} bytes that do not begin with a mask record header.')
        fixed = _HEADER.unpack_from(buffer)
        version, tile, height, width, regions, table_bytes, tiles_bytes, self.fingerprint = fixed[1:]
        if not WITHOUT_COLORS <= version <= WITH_DIGESTS:
            raise RecordError(
                f'mask record: found format version {version}, expected {WITHOUT_COLORS} to {WITH_DIGESTS}.'
            )
        if not (1 <= tile <= TILE and regions <= height * width and 1 <= height * width <= MAX_PIXELS):
            raise RecordError(f'mask record: impossible header: {height}x{width}, {regions} regions, tiles of {tile}.')
        self._across = -(-width // tile)
        self._tile_count = -(-height // tile) * self._across
        if tiles_bytes < _LEAST_TILE_BYTES * self._tile_count:
            raise RecordError(
                f'mask record: impossible header: {height}x{width} pixels in {len(buffer)} bytes, expected more bytes.'
            )
        self._numbers_at = _HEADER.size + (2 * DIGEST_BYTES if version == WITH_DIGESTS else 0)
        table_at = self._numbers_at + 8 * self._tile_count
        head_bytes = table_at + table_bytes
        expected = head_bytes + _UINT32.size + tiles_bytes
        if len(buffer) != expected:
            raise RecordError(f'mask record: found {len(buffer)} bytes, expected {expected}.')
        if zlib.crc32(buffer[:head_bytes]) != _UINT32.unpack_from(buffer, head_bytes)[0]:
            raise RecordError('mask record: the header is damaged (its checksum differs).')
        self._buffer = buffer
        end = self._uint32(self._tile_count - 1)
        if end != tiles_bytes:
            raise RecordError(f'mask record: the tiles end at {end}, expected {tiles_bytes}.')
        # Whether it holds `colors`; records of version 1 do not.
        self.has_colors = version >= WITH_COLORS
        # Whether it holds `digests`; records of versions 1 and 2 do not.
        self.has_digests = version == WITH_DIGESTS
        self._table, self._tiles = buffer[table_at:head_bytes], buffer[head_bytes + _UINT32.size :]
        self._tile_side, self._count = tile, regions
        self._stored = smallest_dtype(regions).newbyteorder('<')
        # uint8 up to 255 regions, uint16 up to 65,535, int32 above: what OpenCV takes.
        self.dtype = np.dtype(np.int32) if self._stored.itemsize == 4 else self._stored.newbyteorder('=')
        # (H, W, 1), as an H x W x C image.
        self.shape = (height, width, 1)

    @property
    def digests(self) -> ImageDigests | None:
        """Digests of the image that was segmented, before a restorer; None in versions 1 and 2."""
        if not self.has_digests:
            return None
        first, second = _HEADER.size, _HEADER.size + DIGEST_BYTES
        return ImageDigests(bytes(self._buffer[first:second]), bytes(self._buffer[second : second + DIGEST_BYTES]))

    @property
    def regions(self) -> np.ndarray:
        """The region table, (K,) of `REGION_DTYPE`; row k-1 is region k."""
        return unplanes(self._tables()[0], REGION_DTYPE)

    @property
    def colors(self) -> np.ndarray:
        """The color table, (K+1,) of `COLOR_DTYPE`; row k is region k, row 0 the pixels without a mask.

        Raises:
            RecordError: a record of version 1, which lacks it; see `has_colors`.
        """
        if not self.has_colors:
            raise RecordError('mask record: version 1, which lacks the colors of regions.')
        return unplanes(self._tables()[1], COLOR_DTYPE)

    def context(self) -> np.ndarray:
        """Return the statistics of its regions over the whole photo; see `region_context`. Raises as `colors`."""
        return region_context(self.regions, self.colors, self.shape[0] * self.shape[1])

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
        side = self._tile_side
        for y0 in range(top - top % side, bottom, side):
            above = max(top, y0)
            for x0 in range(left - left % side, right, side):
                before = max(left, x0)
                part = self._tile(y0, x0)[above - y0 : bottom - y0, before - x0 : right - x0]
                crop[above - top : above - top + len(part), before - left : before - left + part.shape[1], 0] = part
        return crop

    def check(self) -> None:
        """Verify the checksum of every tile without decoding it: about 10 microseconds per record of 321x481 pixels.

        Raises:
            RecordError: naming the first damaged tile.
        """
        for index in range(self._tile_count):
            self._bytes(index)

    def verify(self) -> None:
        """Read everything and compare the region table with the pixels.

        Raises:
            RecordError: naming the first problem.
        """
        labels, regions = self.labels(), self.regions
        expected = LabelMap.from_labels(labels)
        if not np.array_equal(expected.labels, labels):
            raise RecordError('mask record: its labels are not 1, 2, ... by descending area.')
        for field in ('area', 'box'):
            if not np.array_equal(expected.regions[field], regions[field]):
                raise RecordError(f"mask record: the region table's {field} does not match the pixels.")

    def _tables(self) -> tuple[bytes, bytes]:
        """Return the raw tables of regions and of colors; the latter is empty in version 1."""
        split = self._count * REGION_DTYPE.itemsize
        expected = split + (self._count + 1) * COLOR_DTYPE.itemsize * self.has_colors
        raw = inflate(self._table, expected, 'region table')
        if len(raw) != expected:
            raise RecordError(f'mask record: found a region table of {len(raw)} bytes for {self._count} regions.')
        return raw[:split], raw[split:]

    def _uint32(self, index: int) -> int:
        """Return one of the numbers behind the header: first the ends of all tiles, then their checksums."""
        return _UINT32.unpack_from(self._buffer, self._numbers_at + 4 * index)[0]

    def _bytes(self, index: int) -> memoryview:
        stored = self._tiles[self._uint32(index - 1) if index else 0 : self._uint32(index)]
        if zlib.crc32(stored) != self._uint32(self._tile_count + index):
            raise RecordError(f'mask record: tile {index} is damaged (its checksum differs).')
        return stored

    def _tile(self, y0: int, x0: int) -> np.ndarray:
        """Decode the tile whose first pixel is (y0, x0)."""
        side = self._tile_side
        index = y0 // side * self._across + x0 // side
        height, width = min(side, self.shape[0] - y0), min(side, self.shape[1] - x0)
        labels = decode_tile(self._bytes(index), height, width, self._stored, self._count)
        if labels is None:
            raise RecordError(f'mask record: tile {index} does not hold a label map of {self._count} regions.')
        return labels


def _bounds(index: tuple, shape: tuple[int, int, int]) -> list[tuple[int, int]]:
    parts = index[:2] if isinstance(index, tuple) and index[2:] in ((), (...,)) else ()
    bounds = [part.indices(side) for part, side in zip(parts, shape) if isinstance(part, slice)]
    if len(bounds) != 2 or any(step != 1 for _, _, step in bounds):
        raise IndexError(f'mask record: found index {index!r}, expected [top:bottom, left:right] in steps of 1.')
    return [(begin, end) for begin, end, _ in bounds]
