"""Mask records taken apart and put together again with right checksums, so that a fuzzer gets behind them."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache

from sapd_plugin.priors.store.codec import Record, RecordError
from sapd_plugin.priors.store.tiles import deflate

HEADER = struct.Struct('<8sHHIIIII16s')
# Those of the image, from version 3 on.
DIGESTS = 32
# Most parts of most forgeries are unharmed, and deflating is the slowest step.
_deflate = lru_cache(256)(deflate)


@dataclass(frozen=True)
class Parts:
    """What a record is made of; table and tiles are inflated. Any values are allowed: `forge` writes them down."""

    version: int
    tile: int
    height: int
    width: int
    regions: int
    fingerprint: bytes
    table: bytes
    tiles: tuple[bytes, ...]
    digests: bytes = bytes(DIGESTS)  # not written before version 3


def take_apart(record: bytes) -> Parts:
    """Undo `forge` for a whole record."""
    _, version, tile, height, width, regions, table_bytes, _, fingerprint = HEADER.unpack_from(record)
    count = -(-height // tile) * -(-width // tile)
    numbers_at = HEADER.size + DIGESTS * (version == 3)
    ends = struct.unpack_from(f'<{count}I', record, numbers_at)
    at = numbers_at + 8 * count
    begin = at + table_bytes + 4
    tiles = [zlib.decompress(record[begin + a : begin + b], -15) for a, b in zip((0, *ends), ends)]
    table = zlib.decompress(record[at : at + table_bytes], -15)
    digests = record[HEADER.size : numbers_at] or bytes(DIGESTS)
    return Parts(version, tile, height, width, regions, fingerprint, table, tuple(tiles), digests)


def forge(parts: Parts, ends: tuple[int, ...] | None = None, raw: bool = False) -> bytes:
    """Write a record whose checksums are right, whatever its content.

    Args:
        parts: the content; numbers must fit the header's fields.
        ends: where the tiles end, if not where they do.
        raw: table and tiles go in as they are, not deflated.
    """
    pack = bytes if raw else _deflate
    tiles, table = [pack(tile) for tile in parts.tiles], pack(parts.table)
    true_ends = [sum(map(len, tiles[: i + 1])) for i in range(len(tiles))]
    written = [end % 2**32 for end in (true_ends if ends is None else ends)]
    body = b''.join(tiles)
    numbers = (parts.version, parts.tile, parts.height, parts.width, parts.regions, len(table), len(body))
    head = HEADER.pack(b'SAPDMASK', *numbers, parts.fingerprint) + (parts.digests if parts.version == 3 else b'')
    head += struct.pack(f'<{len(written)}I', *written)
    # Checksums of what the reader will take for the tiles.
    spans = zip([0, *written], written)
    head += b''.join(struct.pack('<I', zlib.crc32(body[begin:end])) for begin, end in spans)
    head += table
    return head + struct.pack('<I', zlib.crc32(head)) + body


def damage(data: bytes, position: int, value: int, kind: int) -> bytes:
    """Change one place: 0 replaces a byte, 1 inserts one, 2 deletes one, 3 cuts off the rest, 4 doubles 64."""
    at = position % (len(data) + 1)
    byte = bytes([value % 256])
    changed = (byte + data[at + 1 :], byte + data[at:], data[at + 1 :], b'', data[at : at + 64] + data[at:])
    return data[:at] + changed[kind % len(changed)]


def damage_parts(parts: Parts, what: int, position: int, value: int, kind: int) -> Parts:
    """Damage one part: the tables, a tile, the list of tiles, or a number of the header."""
    tiles = list(parts.tiles)
    which = position % len(tiles) if tiles else 0
    what %= 10
    if what == 0:
        return replace(parts, table=damage(parts.table, position, value, kind))
    if what in (1, 2, 3) and tiles:
        tiles[which] = damage(tiles[which], position // len(tiles), value, kind)
        return replace(parts, tiles=tuple(tiles))
    if what == 4 and tiles:
        tiles[which], tiles[value % len(tiles)] = tiles[value % len(tiles)], tiles[which]
        return replace(parts, tiles=tuple(tiles))
    if what == 5:
        return replace(parts, regions=value % 2**32)
    if what == 6:
        return replace(parts, height=value % 2**32) if kind % 2 else replace(parts, width=value % 2**32)
    if what == 7:
        return replace(parts, version=value % 5)
    if what == 8:
        return replace(parts, digests=damage(parts.digests, position, value, 0))
    return replace(parts, tile=value % 2**16)


def read_all(data: bytes, crop: tuple[int, int, int, int] = (1, 5, 2, 7)) -> bool:
    """Use all of the record's interface; True where the record is whole, False where `RecordError` came out.

    Any other error is the reader's fault and is let through.
    """
    try:
        record = Record(data)
        top, bottom, left, right = crop
        pixels = record[top:bottom, left:right]
        assert pixels.ndim == 3
        assert pixels.dtype == record.dtype
        assert len(record.regions) >= int(pixels.max(initial=0))
        if record.has_colors:
            assert len(record.colors) == len(record.context()) == len(record.regions) + 1
        assert (record.digests is None) != record.has_digests
        record.check()
        record.verify()
    except RecordError as error:
        if not str(error).startswith('mask record:'):
            raise AssertionError(f'not a documented message: {error}') from error
        return False
    return True
