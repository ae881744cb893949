"""Writing a mask store: one writer per shard, one transaction per mask.

A crash loses at most the mask being written.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import lmdb

from sapd_plugin.errors import SAPDError
from sapd_plugin.files import rename_durably, write_atomically
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import manifest
from sapd_plugin.priors.store.codec import Record, RecordError, encode
from sapd_plugin.priors.store.digests import ImageDigests
from sapd_plugin.priors.store.keys import key_bytes
from sapd_plugin.priors.store.locks import BusyError, NoLocksError, agreed_on_ranks, disk_errors_named, locked
from sapd_plugin.priors.store.meta_info import META_INFO, LineWriter, meta_line, read_keys, read_lines
from sapd_plugin.priors.store.shards import ShardReader, find_shards, lock_of, shard_name, shard_number
from sapd_plugin.priors.store.verification import MANIFEST_KEY

T = TypeVar('T')
_STORE_LOCK = '.lock'


class _Elsewhere(NamedTuple):
    """A mask in another shard: whether another process held it, and the digests of its image if they are known."""

    shard: Path
    held: bool
    digests: ImageDigests | None


_UNKNOWN = _Elsewhere(Path(), False, None)


class MaskStoreWriter:
    """Write label maps into one shard of a store, new or existing; a context manager.

    Args:
        path: the store's folder; made if missing.
        settings: settings of the masks, JSON values; see `manifest.INFORMATIVE` for those that may differ.
        shard: number of the shard, from 0. Any number of processes may write a store, each its own shard.
        ranks: number of processes that share the images, or None; all running ones must agree.
        keys: those whose `digests` may be asked for even if their masks are in another shard.
        map_size: initial size of LMDB's map in bytes; it is doubled as needed.

    Raises:
        SAPDError: the store has different settings (each is named), another process writes this shard or
            shares the images among a different number of ranks, the shard is damaged, or the folder holds other files.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        settings: Mapping[str, Any],
        shard: int = 0,
        ranks: int | None = None,
        keys: Iterable[str] = (),
        map_size: int = 1 << 24,
    ) -> None:
        self.path = Path(path)
        self.shard = self.path / shard_name(shard)
        self.settings = dict(settings)
        self._fingerprint = manifest.fingerprint(self.settings)
        self._exit = contextlib.ExitStack()
        with self._exit, disk_errors_named(self.path):
            self._begin_store()
            # Under the store's lock, a shard that another process holds has been repaired already, and that process
            # only adds images of its own part from now on.
            with locked(self.path / _STORE_LOCK, self.path, wait=True):
                if ranks is not None:
                    self._exit.enter_context(agreed_on_ranks(self.path, ranks))
                self._exit.enter_context(locked(lock_of(self.shard), self.shard))
                if not self.shard.exists():
                    self._begin_shard(map_size)
                # Verified before it is opened, because LMDB overwrites an empty file and crashes on a damaged one.
                repair(self.shard, self.settings)
                self._elsewhere = self._keys_of_others(set(keys))
            self._env = _open_to_write(self.shard, map_size, create=False)
            self._exit.callback(self._env.close)
            self._lines = LineWriter(self.shard / META_INFO)
            self._exit.callback(lambda: self._lines.close())
            self._exit = self._exit.pop_all()

    def put(self, key: str, label_map: LabelMap, digests: ImageDigests | None = None) -> None:
        """Write one mask, durably: it is on the disk when this returns. A mask with this key is replaced.

        Args:
            key: of the mask.
            label_map: with colors if there are digests.
            digests: of the image that was segmented.

        Raises:
            SAPDError: the key is invalid or the disk is full; nothing that was written before is lost.
        """
        name, record = key_bytes(key), encode(label_map, self._fingerprint, digests)

        def put(transaction: lmdb.Transaction) -> bool:
            new = transaction.get(name) is None
            transaction.put(name, record)
            return new

        with disk_errors_named(self.path):
            if self._write(put):
                self._lines.write(meta_line(key, label_map.shape))

    def done(self, key: str) -> bool:
        """Return True if this shard holds a mask with this key, or another shard did when this writer was opened.

        Shards of other writers are not read again: LMDB does not allow that across the machines of a cluster, and ranks
        that share the images do not need it.
        """
        with self._env.begin() as transaction:
            return key in self._elsewhere or transaction.get(key_bytes(key)) is not None

    def digests(self, key: str) -> ImageDigests | None:
        """Return the digests of the image that a key's mask was made from, or None if they are unknown.

        They are if there is no such mask, if its record is damaged or lacks them, and if another process holds its
        shard.
        """
        with self._env.begin(buffers=True) as transaction:
            value = transaction.get(key_bytes(key))
            return self._elsewhere.get(key, _UNKNOWN).digests if value is None else _digests(value)

    def is_held(self, key: str) -> bool:
        """Return True if another process held the shard of this key's mask when this writer was opened."""
        return self._elsewhere.get(key, _UNKNOWN).held

    def discard(self, keys: Iterable[str]) -> None:
        """Remove the masks of these keys, in whatever shard they are.

        Raises:
            SAPDError: another process holds one of the shards, and nothing is removed from that one.
        """
        keys = list(keys)
        elsewhere: dict[Path, list[str]] = {}
        for key in keys:
            if key in self._elsewhere:
                elsewhere.setdefault(self._elsewhere[key].shard, []).append(key)
        self._remove(keys)
        for shard, theirs in elsewhere.items():
            with MaskStoreWriter(self.path, self.settings, shard_number(shard)) as other:
                other._remove(theirs)
            for key in theirs:
                del self._elsewhere[key]

    def __len__(self) -> int:
        """Return the number of masks in this shard."""
        return self._env.stat()['entries'] - 1

    def close(self) -> None:
        """Release the shard and bring the store's meta_info.txt up to date."""
        with disk_errors_named(self.path):
            self._exit.close()
            with locked(self.path / _STORE_LOCK, self.path, wait=True):
                lines = ''.join(read_lines(shard) for shard in find_shards(self.path))
                write_atomically(self.path / META_INFO, lines)

    def __enter__(self) -> MaskStoreWriter:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _begin_store(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise SAPDError(f'mask store {self.path}: found a file, expected a folder or nothing.')
        text, new = manifest.to_json(self.settings), not self.path.exists()
        # Before the lock, too: nothing is left in a folder that is refused.
        self._is_begun()
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            with locked(self.path / _STORE_LOCK, self.path, wait=True):
                if not self._is_begun():
                    write_atomically(self.path / manifest.MANIFEST, text)
        except NoLocksError:
            if new:
                (self.path / _STORE_LOCK).unlink(missing_ok=True)
                self.path.rmdir()
            raise

    def _is_begun(self) -> bool:
        """Return whether there is a store with these settings; refuse one with different ones, and other files."""
        # Listed before the manifest is looked for: another process may begin the store now, manifest first.
        foreign = sorted(p.name for p in self.path.glob('*') if not p.name.startswith('.'))
        if (self.path / manifest.MANIFEST).exists():
            manifest.check_same(f'mask store {self.path}', manifest.read_settings(self.path), self.settings)
            return True
        if foreign:
            raise SAPDError(
                f"mask store {self.path}: found '{foreign[0]}' and no {manifest.MANIFEST}, expected "
                'a mask store, an empty folder or nothing.'
            )
        return False

    def _begin_shard(self, map_size: int) -> None:
        draft = self.path / f'.{self.shard.name}.draft'
        shutil.rmtree(draft, ignore_errors=True)
        with (
            contextlib.closing(_open_to_write(draft, max(map_size, 1 << 20))) as env,
            env.begin(write=True) as transaction,
        ):
            transaction.put(MANIFEST_KEY, manifest.to_json(self.settings).encode())
        rename_durably(draft, self.shard)

    def _keys_of_others(self, wanted: set[str]) -> dict[str, _Elsewhere]:
        found: dict[str, _Elsewhere] = {}
        for shard in find_shards(self.path):
            if shard != self.shard:
                digests: dict[str, ImageDigests | None] = {}
                held = True
                with contextlib.suppress(BusyError), locked(lock_of(shard), shard):
                    held = False
                    repair(shard, self.settings)
                    mine = wanted.intersection(read_keys(shard))
                    if mine:
                        with contextlib.closing(ShardReader(shard, self.settings)) as reader:
                            digests = {key: _digests(reader.get(key_bytes(key)) or b'') for key in mine}
                found.update((key, _Elsewhere(shard, held, digests.get(key))) for key in read_keys(shard))
        return found

    def _remove(self, keys: Iterable[str]) -> None:
        """Remove masks of this shard, and their lines."""
        keys = set(keys)
        if not keys:
            return
        with disk_errors_named(self.path):
            lines = zip(read_keys(self.shard), read_lines(self.shard).split('\n'))
            # The lines go first: a crash then leaves masks without lines, which the next writer repairs.
            write_atomically(self.shard / META_INFO, ''.join(f'{line}\n' for key, line in lines if key not in keys))
            self._lines.close()
            self._lines = LineWriter(self.shard / META_INFO)
            self._write(lambda transaction: [transaction.delete(key_bytes(key)) for key in keys])

    def _write(self, work: Callable[[lmdb.Transaction], T]) -> T:
        """Do the work in one transaction, again in a larger map if it is full, and return the result."""
        while True:
            try:
                with self._env.begin(write=True) as transaction:
                    return work(transaction)
            except lmdb.MapFullError:
                self._env.set_mapsize(2 * self._env.info()['map_size'])


def _digests(record: bytes | memoryview) -> ImageDigests | None:
    try:
        return Record(record).digests
    except RecordError:
        return None


def repair(shard: Path, settings: Mapping[str, Any]) -> None:
    """Check a shard, and rewrite its meta_info.txt if a crash left a mask without its line.

    Call it while holding the shard's lock.

    Raises:
        SAPDError: the shard is damaged, or has different settings.
    """
    with contextlib.closing(ShardReader(shard, settings)) as reader:
        path = shard / META_INFO
        whole = path.exists() and path.read_bytes().endswith(b'\n')
        if len(reader) != read_lines(shard).count('\n') or (len(reader) and not whole) or not path.exists():
            sizes = ((name.decode('utf-8'), Record(value).shape) for name, value in reader.items())
            write_atomically(path, ''.join(meta_line(key, shape) for key, shape in sizes))


def _open_to_write(shard: Path, map_size: int, create: bool = True) -> lmdb.Environment:
    """Open a shard whose lock this process holds.

    Without LMDB's own lock file: it is sparse and mapped, so a full disk ends the process with a signal.
    """
    return lmdb.open(str(shard), map_size=map_size, create=create, lock=False)
