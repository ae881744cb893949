"""The mask store: one folder with a manifest and LMDB shards of records. This is its reader.

::

    masks/
      manifest.json      the settings that the masks were made with
      meta_info.txt      one line per mask, as in BasicSR's LMDB folders
      shard-00000.lmdb/  label maps, one writer each
      shard-00001.lmdb/

Needs numpy and lmdb only: no torch, no segmenter.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import manifest
from sapd_plugin.priors.store.codec import Record, RecordError
from sapd_plugin.priors.store.keys import key_bytes, nearest_keys
from sapd_plugin.priors.store.locks import is_held
from sapd_plugin.priors.store.shards import ShardReader, find_shards, lock_of
from sapd_plugin.priors.store.verification import Stamp, trust, verified


class MaskStore:
    """Read label maps by key, in any process: it reopens its shards after a fork and can be pickled.

    Reading takes no lock and writes nothing, so a read-only file system is enough. A store that is still being
    written is refused; one that is written to after it was opened has to be opened again.

    The shards' files are verified before they are opened, once per process and the workers that it starts.

    Args:
        path: the store's folder.

    Attributes:
        seconds: spent on verifying the shards; 0 if that was done before.

    Raises:
        SAPDError: the folder is not a store, is damaged, is being written, or mixes shards with different settings.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        # What the masks were made with: segmenter, its parameters, checkpoint hash, source of the images, ...
        self.settings: dict[str, Any] = manifest.read_settings(self.path)
        self._fingerprint = manifest.fingerprint(self.settings)
        self._shards: list[ShardReader] = []
        self._pid = -1
        self.seconds = 0.0
        if not self._open():
            raise SAPDError(f'mask store {self.path}: found no shard-*.lmdb, expected at least one.')

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the settings, 32 hex digits."""
        return self._fingerprint.hex()

    def record(self, key: str) -> Record:
        """Open the record of ``key``; pixels are read from it crop by crop.

        Raises:
            SAPDError: no such key; the nearest ones are named.
            RecordError: it is damaged or was made with different settings.
        """
        value = self._get(key)
        if value is None:
            near = nearest_keys(key, self.keys())
            hint = f' Nearest: {", ".join(repr(k) for k in near)}.' if near else ''
            raise SAPDError(
                f"mask store {self.path}: no mask for '{key}' among {len(self)}, expected one for each image: the path "
                f'below the image folder, without its last extension.{hint}'
            )
        try:
            record = Record(value)
        except RecordError as error:
            raise RecordError(f"mask store {self.path}, key '{key}': {error}") from error
        if record.fingerprint != self._fingerprint:
            raise RecordError(
                f"mask store {self.path}, key '{key}': found the settings' fingerprint {record.fingerprint.hex()}, "
                f'expected {self.fingerprint}.'
            )
        return record

    def size(self, key: str) -> tuple[int, int]:
        """Return (H, W) of the mask, in pixels, without reading its labels. Raises as `record` does."""
        return self.record(key).shape[:2]

    def keys(self) -> list[str]:
        """Return all keys, sorted."""
        return sorted(key for shard in self._open() for key in shard.iter_keys())

    def __contains__(self, key: str) -> bool:
        """Return True if there is a mask with this key."""
        return self._get(key) is not None

    def __len__(self) -> int:
        """Return the number of masks."""
        return sum(len(shard) for shard in self._open())

    def verify(self) -> list[str]:
        """Read every record completely and return the problems found, one line each."""
        return [problem for *_, problems in self.scan() for problem in problems]

    def scan(self) -> Iterator[tuple[str, str, bytes, list[str]]]:
        """Read every record completely, shard by shard, and yield (key, shard's name, record's bytes, problems)."""
        seen: dict[str, str] = {}
        for shard in self._open():
            for name, value in shard.items():
                key, place = name.decode('utf-8', 'replace'), shard.path.name
                problems = self._problems(key, place, value)
                if key in seen:
                    problems.append(f"key '{key}': in both {seen[key]} and {place}.")
                seen[key] = place
                yield key, place, value, problems

    def _problems(self, key: str, shard: str, value: bytes) -> list[str]:
        try:
            record = Record(value)
            record.verify()
        except RecordError as error:
            return [f"key '{key}' in {shard}: {error}"]
        if record.fingerprint != self._fingerprint:
            return [f"key '{key}': made with different settings ({record.fingerprint.hex()})."]
        return []

    def close(self) -> None:
        """Release the shards; the next read opens them again."""
        if self._pid == os.getpid():
            for shard in self._shards:
                shard.close()
        self._shards, self._pid = [], -1

    def __repr__(self) -> str:
        return f'MaskStore({str(self.path)!r})'

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (str(self.path), verified())

    def _open(self) -> list[ShardReader]:
        if self._pid == os.getpid():
            return self._shards
        # An LMDB environment must not be used across a fork: keep the parent's and open a new one.
        paths = find_shards(self.path)
        for path in paths:
            if is_held(lock_of(path)):
                raise SAPDError(
                    f'mask store {self.path}: {path.name} is being written, expected a finished store. Wait for the '
                    'extraction to end, or stop it.'
                )
        self._shards, self._pid = [ShardReader(path, self.settings) for path in paths], os.getpid()
        self.seconds += sum(shard.seconds for shard in self._shards)
        return self._shards

    def _get(self, key: str) -> bytes | None:
        name = key_bytes(key)
        for shard in self._open():
            value = shard.get(name)
            if value is not None:
                return value
        return None


def _reopen(path: str, stamps: dict[str, Stamp]) -> MaskStore:
    """Open a store in a worker that is not a fork, without verifying its shards again."""
    trust(stamps)
    return MaskStore(path)
