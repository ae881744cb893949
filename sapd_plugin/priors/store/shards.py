"""One LMDB environment of a mask store: opening it safely and reading from it.

A shard is a folder ``shard-00000.lmdb``, complete from the start (it is renamed into place once it holds its own
copy of the manifest), and written by one process at a time.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lmdb

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import manifest
from sapd_plugin.priors.store.verification import MANIFEST_KEY, verify

_FIRST_KEY = MANIFEST_KEY + b'\0'


def shard_name(index: int) -> str:
    """Return the folder name of shard ``index``."""
    return f'shard-{index:05d}.lmdb'


def shard_number(shard: Path) -> int:
    """Undo `shard_name`.

    >>> shard_number(Path('masks') / shard_name(7))
    7
    """
    return int(shard.stem.removeprefix('shard-'))


def lock_of(shard: Path) -> Path:
    """Return the lock file that a shard's writer holds."""
    return shard.with_name(f'.{shard.name}.lock')


def find_shards(store: Path) -> list[Path]:
    """Return the shard folders of a store, in order."""
    return sorted(store.glob('shard-*.lmdb'))


class ShardReader:
    """Read-only access to one shard.

    Args:
        path: the shard's folder.
        settings: those of the store; the shard's own copy of the manifest has to match.

    Attributes:
        seconds: spent on verifying the shard's file; 0 if that was done before.

    Raises:
        SAPDError: the folder is not a complete, sound LMDB environment, or its settings differ (each is named).
    """

    def __init__(self, path: Path, settings: Mapping[str, Any]) -> None:
        self.path = path
        self.seconds = verify(path)
        try:
            # Without LMDB's locks, which would write to the folder; without read-ahead, as training reads at random.
            self._env = lmdb.open(str(path), readonly=True, create=False, lock=False, readahead=False)
        except lmdb.Error as error:
            raise SAPDError(f'mask store shard {path}: cannot be opened ({error}).') from error
        try:
            text = self.get(MANIFEST_KEY)
            if text is None:
                raise SAPDError(f'mask store shard {path}: found no manifest, expected a shard of a mask store.')
            manifest.check_same(path, manifest.from_json(text, path), settings)
        except SAPDError:
            self.close()
            raise

    def get(self, key: bytes) -> bytes | None:
        """Return a copy of the value, or None if the key is missing."""
        try:
            with self._env.begin() as transaction:
                return transaction.get(key)
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys and values except the manifest, in the keys' byte order."""
        with self._reading() as transaction, transaction.cursor() as cursor:
            if cursor.set_range(_FIRST_KEY):
                yield from cursor.iternext()

    def iter_keys(self) -> Iterator[str]:
        """Yield all image keys, in byte order, without reading their values."""
        with self._reading() as transaction, transaction.cursor() as cursor:
            if cursor.set_range(_FIRST_KEY):
                yield from (key.decode('utf-8') for key in cursor.iternext(values=False))

    @contextlib.contextmanager
    def _reading(self) -> Iterator[lmdb.Transaction]:
        try:
            with self._env.begin() as transaction:
                yield transaction
        except lmdb.Error as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: lmdb.Error) -> SAPDError:
        return SAPDError(f'mask store shard {self.path}: cannot be read ({error}).')

    def __len__(self) -> int:
        """Return the number of masks."""
        return self._env.stat()['entries'] - 1

    def close(self) -> None:
        """Release the environment."""
        self._env.close()
