"""One LMDB environment of a mask store: opening it safely and reading from it.

A shard is a folder ``shard-00000.lmdb``, born whole (it is renamed into place once its own copy of the manifest is
in), and written by one process at a time.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lmdb

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors import manifest

MANIFEST_KEY = b'\0manifest'
"""No file name holds a NUL, so no image's key can collide; and it sorts before all keys."""


def shard_name(index: int) -> str:
    """Return the folder name of shard ``index``."""
    return f'shard-{index:05d}.lmdb'


def find_shards(store: Path) -> list[Path]:
    """Return the shard folders of a store, in order."""
    return sorted(store.glob('shard-*.lmdb'))


class ShardReader:
    """Read-only access to one shard.

    Args:
        path: the shard's folder.

    Raises:
        SAPDError: for a folder that is not a whole LMDB environment.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            # Without read-ahead: training reads at random. Without locks: they would write to the folder, and finished
            # shards do not change.
            self._env = lmdb.open(str(path), readonly=True, create=False, lock=False, readahead=False)
        except lmdb.Error as error:
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
        try:
            with self._begin() as transaction:
                return transaction.get(key)
        except lmdb.Error as error:
            raise SAPDError(f'mask store shard {self.path}: cannot be read ({error}).') from error

    def items(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield all keys and values, the manifest left out, in the keys' byte order.

        Raises:
            SAPDError: for a damaged shard.
        """
        try:
            with self._begin() as transaction, transaction.cursor() as cursor:
                yield from (item for item in cursor if item[0] != MANIFEST_KEY)
        except lmdb.Error as error:
            raise SAPDError(f'mask store shard {self.path}: cannot be read ({error}).') from error

    def iter_keys(self) -> Iterator[str]:
        """Yield all image keys, in byte order."""
        try:
            with self._begin() as transaction, transaction.cursor() as cursor:
                for key in cursor.iternext(keys=True, values=False):
                    if key != MANIFEST_KEY:
                        yield key.decode('utf-8')
        except lmdb.Error as error:
            raise SAPDError(f'mask store shard {self.path}: cannot be read ({error}).') from error

    def __len__(self) -> int:
        """Return the number of masks."""
        return self._env.stat()['entries'] - 1

    def close(self) -> None:
        """Release the environment."""
        self._env.close()
