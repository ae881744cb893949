"""Writing a mask store: one writer a shard, a transaction a mask, so that a kill loses the mask in work at most."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import lmdb

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors import manifest
from sapd_plugin.priors.codec import Record, encode
from sapd_plugin.priors.keys import key_bytes
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.shards import MANIFEST_KEY, META_INFO, ShardReader, find_shards, shard_name

_STORE_LOCK = '.lock'


class MaskStoreWriter:
    """Write label maps into one shard of a store, new or begun; a context manager.

    Args:
        path: the store's folder; made if missing.
        settings: what the masks are made with, JSON values; see `manifest.INFORMATIVE` for those that may differ.
        shard: number of the shard, from 0. Any number of processes may write a store, each its own shard.
        map_size: bytes of LMDB's map to begin with; it doubles as often as needed.

    Raises:
        SAPDError: where the store was begun with other settings (each is named), where another process writes this
            shard, or where the folder holds something else.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any],
        shard: int = 0,
        map_size: int = 1 << 24,
    ) -> None:
        self.path = Path(path)
        self.shard = self.path / shard_name(shard)
        self.settings = dict(settings)
        self._fingerprint = manifest.fingerprint(self.settings)
        self._exit = contextlib.ExitStack()
        with self._exit:
            with _says_disk(self.path):
                self._begin_store()
                self._exit.enter_context(_locked(self.path / f'.{self.shard.name}.lock', self.shard))
                self._begin_shard(map_size)
            self._env = lmdb.open(str(self.shard), map_size=map_size, create=False)
            self._exit.callback(self._env.close)
            self._others: dict[Path, ShardReader] = {}
            self._meta = self._exit.enter_context(self._open_meta())
            self._exit = self._exit.pop_all()

    def put(self, key: str, label_map: LabelMap) -> None:
        """Write one mask, durably: it is on the disk when this returns. A mask of that name is replaced.

        Raises:
            SAPDError: for a bad key, or a full disk; what was written before stays whole.
        """
        name, record = key_bytes(key), encode(label_map, self._fingerprint)
        with _says_disk(self.path):
            new = self._write(name, record)
            if new:
                self._meta.write(_meta_line(key, label_map.shape))
                self._meta.flush()

    def done(self, key: str) -> bool:
        """Tell whether any shard of the store holds a mask of that name."""
        name = key_bytes(key)
        with self._env.begin() as transaction:
            if transaction.get(name) is not None:
                return True
        for path in find_shards(self.path):
            if path != self.shard and path not in self._others:
                self._others[path] = ShardReader(path, locked=True)
                self._exit.callback(self._others[path].close)
        return any(other.get(name) is not None for other in self._others.values())

    def __len__(self) -> int:
        """Return the number of masks in this shard."""
        return self._env.stat()['entries'] - 1

    def close(self) -> None:
        """Release the shard and bring the store's meta_info.txt up to date."""
        with _says_disk(self.path):
            self._exit.close()
        with _says_disk(self.path), _locked(self.path / _STORE_LOCK, self.path, wait=True):
            parts = [shard / META_INFO for shard in find_shards(self.path)]
            lines = [part.read_text(encoding='utf-8') for part in parts if part.exists()]
            _replace(self.path / META_INFO, ''.join(lines))

    def __enter__(self) -> MaskStoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _begin_store(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise SAPDError(f'mask store {self.path}: found a file, expected a folder or nothing.')
        self.path.mkdir(parents=True, exist_ok=True)
        with _locked(self.path / _STORE_LOCK, self.path, wait=True):
            if (self.path / manifest.MANIFEST).exists():
                manifest.check_same(f'mask store {self.path}', manifest.read_settings(self.path), self.settings)
                return
            strangers = sorted(p.name for p in self.path.iterdir() if not p.name.startswith('.'))
            if strangers:
                raise SAPDError(
                    f"mask store {self.path}: found '{strangers[0]}' and no {manifest.MANIFEST}, expected "
                    'a mask store, an empty folder or nothing.'
                )
            _replace(self.path / manifest.MANIFEST, manifest.to_json(self.settings))

    def _begin_shard(self, map_size: int) -> None:
        if self.shard.exists():
            return
        unborn = self.path / f'.{self.shard.name}.unborn'
        shutil.rmtree(unborn, ignore_errors=True)
        with lmdb.open(str(unborn), map_size=max(map_size, 1 << 20)) as env, env.begin(write=True) as transaction:
            transaction.put(MANIFEST_KEY, manifest.to_json(self.settings).encode())
        unborn.rename(self.shard)

    def _open_meta(self) -> IO[str]:
        """Append to the shard's meta_info.txt; a kill between a mask and its line makes it to be written anew."""
        path = self.shard / META_INFO
        lines = path.read_text(encoding='utf-8') if path.exists() else ''
        if lines.count('\n') != len(self):
            reader = ShardReader(self.shard, locked=True)
            sizes = ((name.decode('utf-8'), Record(value).shape) for name, value in reader.items())
            _replace(path, ''.join(_meta_line(key, shape[:2]) for key, shape in sizes))
            reader.close()
        return path.open('a', encoding='utf-8')

    def _write(self, name: bytes, record: bytes) -> bool:
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    new = transaction.get(name) is None
                    transaction.put(name, record)
                return new
            except lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()['map_size'])


def _meta_line(key: str, shape: tuple[int, ...]) -> str:
    """Return BasicSR's line: name, shape, compression level."""
    return f'{key}.png ({shape[0]},{shape[1]},1) 9\n'


def _replace(path: Path, text: str) -> None:
    """Write a file that is either whole or not there, whenever we are killed."""
    draft = path.with_name(f'.{path.name}.draft')
    with draft.open('w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


@contextlib.contextmanager
def _locked(lock: Path, what: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock file. The kernel lets go of it when the process ends, however it ends.

    Raises:
        SAPDError: where another holds it and we do not ``wait``.
    """
    with lock.open('a') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as error:
            raise SAPDError(f'mask store shard {what}: another process is writing it, expected one writer.') from error
        yield


@contextlib.contextmanager
def _says_disk(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into the user's error."""
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise SAPDError(
            f'mask store {path}: cannot be written ({error}). What was written before is whole: make room or mend the '
            'permissions, then run again to go on.'
        ) from error
