"""The pages of an LMDB file, checked before LMDB maps it.

LMDB trusts what its pages say: one overwritten page can end the process with a signal, or let it loop for ever. Hence
everything that LMDB relies on is checked first, by reading the file: both meta pages, the trees of keys and of free
pages, and each node, key and page number in them. Nothing is mapped, so a file that shrinks meanwhile does no harm.

The format is that of LMDB 0.9, whose numbers are little-endian on every machine that PyTorch supports.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO, NamedTuple

from sapd_plugin.errors import SAPDError
from sapd_plugin.regular_files import open_regular

MAGIC, VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, OVERFLOW, META = 1, 2, 4, 8
_BIG = 1  # flag of a node whose value lies on overflow pages
_INTEGER_KEYS, _NO_SUBDIR = 8, 0x4000
_NO_ROOT = 2**64 - 1
_MAX_DEPTH = 32  # of LMDB's cursors
_MAX_KEY = 511

_PAGE = struct.Struct('<QHHHH')  # number, padding, flags, end of the node table, begin of the nodes
_OVERFLOW_PAGE = struct.Struct('<QHHI')  # number, padding, flags, pages
_NODE = struct.Struct('<HHHH')  # size or page number: low and middle 16 bits; flags or high 16 bits; bytes of the key
_META = struct.Struct('<IIQQ IHHQQQQQ IHHQQQQQ QQ')
_NUMBER = struct.Struct('<Q')
_HEADER = _PAGE.size


class DamagedError(SAPDError):
    """A file that LMDB must not open."""


class _Tree(NamedTuple):
    """What a meta page says of one tree; the first field of the free pages' tree is the page size."""

    padding: int
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


class _Meta(NamedTuple):
    free: _Tree
    main: _Tree
    last: int  # highest page in use
    transaction: int


def check_pages(path: Path, strict: bool = True) -> list[bytes]:
    """Check the data file of an LMDB environment, and return its keys, in no order.

    Args:
        path: ``data.mdb``.
        strict: whether to read the first page of each large value as well, as a writer needs it. Reading does not, and
            an LMDB of images is too large for it.

    Raises:
        DamagedError: the first problem.
        OSError: the file cannot be read.
    """
    with open_regular(path, buffering=1 << 16) as file:
        return _Checker(file, strict).keys()


class _Checker:
    def __init__(self, file: BinaryIO, strict: bool) -> None:
        self._file, self._strict = file, strict
        self._size = os.fstat(file.fileno()).st_size
        self._psize = 0
        self._meta = self._newest()
        self._used = bytearray(self._size // self._psize)
        self._used[:2] = b'\1\1'

    def keys(self) -> list[bytes]:
        keys = [key for key, _ in self._nodes(self._meta.main)]
        free = [page for _, value in self._nodes(self._meta.free, numbers=True) for page in self._free(value)]
        if len(set(free)) != len(free) or any(page < len(self._used) and self._used[page] for page in free):
            raise DamagedError('a page is free twice, or free and in use')
        # LMDB does not write what was free again before its transaction ended, so the file may end with such pages.
        absent = self._meta.last + 1 - len(self._used)
        if absent > 0 and absent != sum(page >= len(self._used) for page in free):
            raise self._truncated()
        return keys

    def _newest(self) -> _Meta:
        first, psize = self._read_meta(0)
        self._psize = psize
        second, other = self._read_meta(psize)
        if psize != other:
            raise DamagedError(f'its meta pages say pages of {psize} and of {other} bytes')
        age = second.transaction - first.transaction
        # Each transaction replaces the older page, in turn.
        in_turn = age in (-1, 1) and second.transaction % 2 == 1
        begun = any(meta.transaction == 0 and meta.main.root != _NO_ROOT for meta in (first, second))
        if self._strict and (begun or not (in_turn or first.transaction == second.transaction == 0)):
            raise DamagedError(f'its meta pages are of the transactions {first.transaction} and {second.transaction}')
        meta = second if age > 0 else first
        if meta.free.flags & ~_NO_SUBDIR != _INTEGER_KEYS or meta.main.flags:
            raise DamagedError(f'found an LMDB with flags {meta.free.flags} and {meta.main.flags}, expected none')
        return meta

    def _read_meta(self, offset: int) -> tuple[_Meta, int]:
        raw = self._read(offset, _HEADER + _META.size)
        _, _, flags, _, _ = _PAGE.unpack_from(raw)
        magic, version, _, _, *numbers, last, transaction = _META.unpack_from(raw, _HEADER)
        if flags & META == 0 or magic != MAGIC:
            raise DamagedError('found other content, expected an LMDB')
        if version != VERSION:
            raise DamagedError(f'found an LMDB of version {version}, expected {VERSION}')
        free, main = _Tree(*numbers[:8]), _Tree(*numbers[8:])
        psize = free.padding
        if psize & (psize - 1) or not 512 <= psize <= 0x10000:
            raise DamagedError(f'found pages of {psize} bytes')
        return _Meta(free, main, last, transaction), psize

    def _nodes(self, tree: _Tree, numbers: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value) of each leaf node; the value only with ``numbers``, the tree of free pages."""
        if tree.root == _NO_ROOT and not any(tree[2:7]):
            return
        if not 1 <= tree.depth <= _MAX_DEPTH:
            raise DamagedError(f'found a tree of depth {tree.depth}')
        branches, leaves, overflows, entries = 0, 0, 0, 0
        # (page, lowest key, key above the highest or None); page by page in the file's order, which is faster
        level: list[tuple[int, bytes, bytes | None]] = [(tree.root, b'', None)]
        for _ in range(tree.depth - 1):
            below: list[tuple[int, bytes, bytes | None]] = []
            for page, low, high in sorted(level, key=lambda item: item[0]):
                keys, children = self._branch(page, low, high, numbers)
                below += zip(children, [low, *keys], [*keys, high])
                branches += 1
            level = below
        large: list[tuple[int, int, bytes]] = []
        for page, low, high in sorted(level, key=lambda item: item[0]):
            leaves += 1
            for key, value, target in self._leaf(page, low, high, numbers):
                entries += 1
                if target is None:
                    yield key, value
                else:
                    large.append((*target, key))
        for page, size, key in sorted(large):
            overflows += self._overflow(page, size)
            yield key, self._read(page * self._psize + _HEADER, size) if numbers else b''
        found, expected = (branches, leaves, entries), (tree.branches, tree.leaves, tree.entries)
        if found != expected or (self._strict and overflows != tree.overflows):
            raise DamagedError(f'found {(*found, overflows)} pages and entries, expected {(*expected, tree.overflows)}')

    def _page(self, page: int, kind: int) -> tuple[bytes, list[int]]:
        """Return a page of a tree and the offsets of its nodes, after checking that its nodes fill it exactly."""
        self._take(page, 1)
        raw = self._read(page * self._psize, self._psize)
        number, _, flags, lower, upper = _PAGE.unpack_from(raw)
        if number != page or flags != kind or not _HEADER <= lower <= upper <= self._psize or lower % 2:
            raise DamagedError(f'page {page} is not the one that LMDB wrote')
        count = (lower - _HEADER) // 2
        if count < (2 if kind == BRANCH else 1):
            raise DamagedError(f'page {page} is empty')
        offsets = list(struct.unpack_from(f'<{count}H', raw, _HEADER))
        expected = upper
        for offset in sorted(offsets):
            if offset != expected or offset + _NODE.size > self._psize:
                raise DamagedError(f'page {page} has a node at {offset}, expected {expected}')
            low, middle, node_flags, key_size = _NODE.unpack_from(raw, offset)
            value_size = 0
            if kind == LEAF:
                if node_flags not in (0, _BIG):
                    raise DamagedError(f'page {page} has a node with flags {node_flags}, expected plain values')
                value_size = _NUMBER.size if node_flags else low | middle << 16
                if not 1 <= key_size <= _MAX_KEY:
                    raise DamagedError(f'page {page} has a key of {key_size} bytes')
            expected = offset + (_NODE.size + key_size + value_size + 1) // 2 * 2
        if expected != self._psize:
            raise DamagedError(f'the nodes of page {page} end at {expected}, expected {self._psize}')
        return raw, offsets

    def _branch(self, page: int, low: bytes, high: bytes | None, numbers: bool) -> tuple[list[bytes], list[int]]:
        raw, offsets = self._page(page, BRANCH)
        keys, children = [], []
        for offset in offsets:
            first, middle, last, key_size = _NODE.unpack_from(raw, offset)
            keys.append(raw[offset + _NODE.size : offset + _NODE.size + key_size])
            children.append(first | middle << 16 | last << 32)
        # LMDB does not look at the first one.
        keys = keys[1:]
        self._check_order(page, keys, low, high, numbers)
        return keys, children

    def _leaf(
        self, page: int, low: bytes, high: bytes | None, numbers: bool
    ) -> list[tuple[bytes, bytes, tuple[int, int] | None]]:
        raw, offsets = self._page(page, LEAF)
        nodes: list[tuple[bytes, bytes, tuple[int, int] | None]] = []
        for offset in offsets:
            first, middle, flags, key_size = _NODE.unpack_from(raw, offset)
            key, begin = raw[offset + _NODE.size : offset + _NODE.size + key_size], offset + _NODE.size + key_size
            size = first | middle << 16
            if flags == _BIG:
                nodes.append((key, b'', (_NUMBER.unpack_from(raw, begin)[0], size)))
            else:
                nodes.append((key, raw[begin : begin + size] if numbers else b'', None))
        self._check_order(page, [node[0] for node in nodes], low, high, numbers)
        return nodes

    def _check_order(self, page: int, keys: list[bytes], low: bytes, high: bytes | None, numbers: bool) -> None:
        bounds = [*([low] if low else []), *keys, *([] if high is None else [high])]
        if numbers:
            if any(len(key) != _NUMBER.size for key in bounds):
                raise DamagedError(f'page {page} has a key of free pages that is not a number')
            bounds = [key[::-1] for key in bounds]
        # The first key of a page may be the bound itself.
        begin = bool(low)
        if (begin and bounds[1:] and bounds[0] > bounds[1]) or any(a >= b for a, b in pairwise(bounds[begin:])):
            raise DamagedError(f'page {page} has keys in a different order')

    def _overflow(self, page: int, size: int) -> int:
        """Return the number of pages that a large value takes."""
        pages = (_HEADER - 1 + size) // self._psize + 1
        if self._strict:
            self._check_inside(page, 1)
            number, _, flags, found = _OVERFLOW_PAGE.unpack(self._read(page * self._psize, _HEADER))
            if number != page or flags != OVERFLOW or found < pages:
                raise DamagedError(f'page {page} is not the one that LMDB wrote')
            pages = found
        self._take(page, pages)
        return pages

    def _free(self, value: bytes) -> list[int]:
        """Return the pages in a list of free ones: their number, then each."""
        room = len(value) // _NUMBER.size - 1
        count = _NUMBER.unpack_from(value)[0] if room >= 0 else 0
        pages = list(struct.unpack_from(f'<{count}Q', value, _NUMBER.size)) if count <= room else [0]
        if any(not 2 <= page <= self._meta.last for page in pages) or any(a <= b for a, b in pairwise(pages)):
            raise DamagedError('the list of free pages is not one that LMDB wrote')
        return pages

    def _take(self, page: int, count: int) -> None:
        """Mark pages as used, each once: LMDB would follow a circle for ever."""
        self._check_inside(page, count)
        if self._used.find(1, page, page + count) >= 0:
            raise DamagedError(f'page {page} is in use twice')
        self._used[page : page + count] = b'\1' * count

    def _check_inside(self, page: int, count: int) -> None:
        if not 2 <= page <= self._meta.last or page + count - 1 > self._meta.last:
            raise DamagedError(f'found page {page}, expected 2 to {self._meta.last}')
        if page + count > len(self._used):
            raise self._truncated()

    def _truncated(self) -> DamagedError:
        needed = (self._meta.last + 1) * self._psize
        return DamagedError(f'found {self._size} bytes, expected {needed}: a truncated copy')

    def _read(self, offset: int, size: int) -> bytes:
        self._file.seek(offset)
        raw = self._file.read(size)
        if len(raw) != size:
            raise DamagedError(f'found {self._size} bytes, expected more: a truncated copy')
        return raw
