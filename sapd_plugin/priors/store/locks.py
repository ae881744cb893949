"""Lock files that are released with their process, and readable disk errors.

Reading a store takes no lock, so only writers use this module; it can be imported without ``fcntl``.
"""

from __future__ import annotations

import contextlib
import errno
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import lmdb

from sapd_plugin.errors import SAPDError
from sapd_plugin.regular_files import check_kind, open_regular

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

_RANKS = '.ranks-'
# Seconds between attempts, and their number: a reader that tests a lock holds it for an instant.
_PATIENCE = 0.05
_ATTEMPTS = 10


# What `flock` reports where the file system has no locks: some network file systems, and Lustre without -o flock.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class BusyError(SAPDError):
    """Another process holds the lock."""


class NoLocksError(SAPDError):
    """The system or the file system has no locks."""


@contextlib.contextmanager
def disk_errors_named(path: Path) -> Iterator[None]:
    """Turn an error of the operating system or of LMDB into a `SAPDError` that says what to do."""
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise SAPDError(
            f'mask store {path}: cannot be written ({error}; {_free(path)}). Nothing that was written before is lost: '
            'free space or fix the permissions, then rerun the same command to resume.'
        ) from error


def _free(path: Path) -> str:
    """Say how much space is left: where it ends within a page, LMDB reports an input or output error instead."""
    place = next((place for place in (path, *path.parents) if place.exists()), Path())
    try:
        return f'{shutil.disk_usage(place).free:,} bytes are free'
    except OSError:
        return 'free space unknown'


@contextlib.contextmanager
def locked(lock: Path, what: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock file; the kernel releases it when the process ends for any reason.

    Raises:
        BusyError: another process holds it and ``wait`` is false.
        NoLocksError: this system (Windows) or this file system has no such locks.
        OSError: it cannot be opened, or is not a regular file.
    """
    if fcntl is None:
        raise NoLocksError(f'{what}: cannot be written on this system, which lacks fcntl. Use Linux, macOS or WSL.')
    with _open(lock) as file:
        if wait:
            _take(file, fcntl.LOCK_EX)
        elif not _take_soon(file):
            raise BusyError(f'mask store shard {what}: another process is writing it, expected one writer.')
        yield


def is_held(lock: Path) -> bool:
    """Return True if a process holds a lock file now; a missing or unreadable one is not held."""
    if fcntl is None:
        return False
    try:
        with open_regular(lock) as file:
            return not _take(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (OSError, NoLocksError):
        return False


@contextlib.contextmanager
def agreed_on_ranks(store: Path, ranks: int) -> Iterator[None]:
    """Hold the store for runs that share the images among ``ranks``; parts of different numbers would overlap.

    Enter it while holding the store's lock.

    Raises:
        BusyError: a running process shares the images among a different number.
    """
    ours = store / f'{_RANKS}{ranks}'
    for other in store.glob(f'{_RANKS}*'):
        if other != ours:
            with _open(other) as file:
                if not _take(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    raise BusyError(
                        f'mask store {store}: a running extraction shares the images among '
                        f'{other.name.removeprefix(_RANKS)} ranks, found {ranks} for this one. Expected the same '
                        'number: stop that run, or wait until it ends.'
                    )
                other.unlink()
    with _open(ours) as file:
        _take(file, fcntl.LOCK_SH)
        yield


def _open(lock: Path) -> IO[bytes]:
    """Open a lock file, which is made if it is missing. To write, since NFS has exclusive locks for writers only."""
    if lock.exists():
        check_kind(lock.stat(), lock)  # a named pipe is waited for without end
    return lock.open('ab')


def _take_soon(file: IO[bytes]) -> bool:
    for _ in range(_ATTEMPTS):
        if _take(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return True
        time.sleep(_PATIENCE)
    return False


def _take(file: IO[bytes], kind: int) -> bool:
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        raise NoLocksError(
            f'{file.name}: cannot be locked ({error.strerror}): its file system has no file locks (flock), without '
            'which two processes could spoil what they write. Write to a local folder and move it there when it is '
            'finished; reading needs no locks. Lustre has them if it is mounted with -o flock.'
        ) from error
    return True
