"""One LMDB environment of a mask store: opening it safely and reading from it.

A shard is a folder ``shard-00000.lmdb``, born whole (it is renamed into place once its own copy of the manifest is
in), and written by one process at a time.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lmdb

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import manifest
from sapd_plugin.priors.store.locks import is_held

_LOCKED_HERE: set[tuple[int, str]] = set()
"""Process and shard. LMDB's locks belong to the process: a second handle would let go of the first one's."""
MANIFEST_KEY = b'\0manifest'
"""No file name holds a NUL, so no image's key can collide; and it sorts before all keys."""


def shard_name(index: int) -> str:
    """Return the folder name of shard ``index``."""
    return f'shard-{index:05d}.lmdb'


def lock_of(shard: Path) -> Path:
    """Return the lock file that a shard's writer holds."""
    return shard.with_name(f'.{shard.name}.lock')


@contextlib.contextmanager
def lmdb_locks(shard: Path) -> Iterator[None]:
    """Note that this process has the shard open with LMDB's locks; other handles of it here must do without."""
    _LOCKED_HERE.add(_names(shard))
    try:
        yield
    finally:
        _LOCKED_HERE.discard(_names(shard))


def find_shards(store: Path) -> list[Path]:
    """Return the shard folders of a store, in order."""
    return sorted(store.glob('shard-*.lmdb'))


_TRIES = (False, False, True)
"""Whether this is the last try of a read."""


class ShardReader:
    """Read-only access to one shard.

    Args:
        path: the shard's folder.

    Raises:
        SAPDError: for a folder that is not a whole LMDB environment.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def _open(self) -> None:
        path = self.path
        # Without LMDB's locks, which would write to the folder, unless a writer is at work: it may use a page again
        # that a reader it does not know of still reads.
        self._exit = contextlib.ExitStack()
        locks = is_held(lock_of(path)) and _names(path) not in _LOCKED_HERE and os.access(path / 'lock.mdb', os.W_OK)
        if locks:
            self._exit.enter_context(lmdb_locks(path))
        try:
            # Without read-ahead: training reads at random.
            self._env = lmdb.open(str(path), readonly=True, create=False, lock=locks, readahead=False)
        except lmdb.Error as error:
            self._exit.close()
            raise SAPDError(f'mask store shard {path}: cannot be opened ({error}).') from error
        self._check_size()

    def _check_size(self) -> None:
        # LMDB maps the file: reading a page beyond the end of a truncated copy kills the process by SIGBUS.
        needed = (self._env.info()['last_pgno'] + 1) * self._env.stat()['psize']
        found = (self.path / 'data.mdb').stat().st_size
        if found < needed:
            self.close()
            raise SAPDError(f'mask store shard {self.path}: found {found} bytes, expected {needed}: a truncated copy.')

    def check_settings(self, expected: Mapping[str, Any]) -> None:
        """Hold the shard's own copy of the manifest against the store's settings.

        Raises:
            SAPDError: for other settings, each named, or no manifest.
        """
        text = self.get(MANIFEST_KEY)
        if text is None:
            raise SAPDError(f'mask store shard {self.path}: found no manifest, expected a shard of a mask store.')
        manifest.check_same(self.path, manifest.from_json(text, self.path), expected)

    def _begin(self) -> lmdb.Transaction:
        try:
            return self._env.begin()
        except lmdb.MapResizedError:
            # A writer grew it since.
            self._env.set_mapsize(0)
            return self._env.begin()

    def get(self, key: bytes) -> bytes | None:
        """Return a copy of the value, None where the key is missing.

        Raises:
            SAPDError: for a damaged shard.
        """
        for last_try in _TRIES:
            try:
                with self._begin() as transaction:
                    return transaction.get(key)
            except lmdb.Error as error:
                self._recover(error, last_try)
        raise AssertionError('unreachable')

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys and values, the manifest left out, in the keys' byte order.

        Raises:
            SAPDError: for a damaged shard.
        """
        yield from self._entries(values=True)

    def iter_keys(self) -> Iterator[str]:
        """Yield all image keys, in byte order."""
        return (key.decode('utf-8') for key, _ in self._entries(values=False))

    def _entries(self, values: bool) -> Iterator[tuple[bytes, bytes]]:
        """Yield (key, value); without ``values`` the values are empty, and are not read."""
        done = MANIFEST_KEY  # it sorts before all keys
        for last_try in _TRIES:
            try:
                with self._begin() as transaction, transaction.cursor() as cursor:
                    if not cursor.set_range(done + b'\0'):
                        return
                    for entry in cursor.iternext(keys=True, values=values):
                        key, value = entry if values else (entry, b'')
                        yield key, value
                        done = key
                return
            except lmdb.Error as error:
                self._recover(error, last_try)

    def _recover(self, error: lmdb.Error, last_try: bool) -> None:
        """Open the shard anew: a writer that began after us may have used a page again that we were reading."""
        if last_try:
            raise SAPDError(f'mask store shard {self.path}: cannot be read ({error}).') from error
        self.close()
        self._open()

    def __len__(self) -> int:
        """Return the number of masks."""
        return self._env.stat()['entries'] - 1

    def close(self) -> None:
        """Release the environment."""
        self._env.close()
        self._exit.close()


def _names(shard: Path) -> tuple[int, str]:
    return os.getpid(), os.path.realpath(shard)
