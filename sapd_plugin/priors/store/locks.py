"""Files that survive a kill: locks that end with their holder, writing whole or not at all, a disk that says no."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import lmdb

from sapd_plugin.errors import SAPDError

_RANKS = '.ranks-'
_PATIENCE = 0.05
"""Seconds between tries for a lock: a reader that looks whether it is held holds it for an instant itself."""
_TRIES = 10


class BusyError(SAPDError):
    """Another process holds the lock."""


@contextlib.contextmanager
def says_disk(path: Path) -> Iterator[None]:
    """Turn what the disk refuses into the user's error.

    Raises:
        SAPDError: for an error of the operating system or of LMDB.
    """
    try:
        yield
    except (lmdb.Error, OSError) as error:
        raise SAPDError(
            f'mask store {path}: cannot be written ({error}). What was written before is whole: make room or mend the '
            'permissions, then run again to go on.'
        ) from error


@contextlib.contextmanager
def locked(lock: Path, what: Path, wait: bool = False) -> Iterator[None]:
    """Hold a lock file. The kernel lets go of it when the process ends, however it ends.

    Raises:
        BusyError: where another holds it and we do not ``wait``.
    """
    with lock.open('a') as file:
        if wait:
            _take(file, fcntl.LOCK_EX)
        elif not _take_soon(file):
            raise BusyError(f'mask store shard {what}: another process is writing it, expected one writer.')
        yield


def is_held(lock: Path) -> bool:
    """Tell whether a process holds a lock file now; one that is not there or not to be read is not held."""
    try:
        with lock.open() as file:
            return not _take(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return False


@contextlib.contextmanager
def agreed_on_ranks(store: Path, ranks: int) -> Iterator[None]:
    """Hold the store for runs that share the images among ``ranks``: among 2 and among 4, parts would overlap.

    To be entered while the store's lock is held.

    Raises:
        BusyError: where a process is at work that shares the images among another number.
    """
    ours = store / f'{_RANKS}{ranks}'
    for other in store.glob(f'{_RANKS}*'):
        if other != ours:
            with other.open('a') as file:
                if not _take(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
                    raise BusyError(
                        f'mask store {store}: a run is at work that shares the images among '
                        f'{other.name.removeprefix(_RANKS)}, found {ranks} for this one. Expected the same number: '
                        'stop that run, or wait for its end.'
                    )
                other.unlink()
    with ours.open('a') as file:
        _take(file, fcntl.LOCK_SH)
        yield


def write_whole(path: Path, text: str) -> None:
    """Write a file that is either whole or not there, whenever we are killed or the machine is lost."""
    draft = path.with_name(f'.{path.name}.draft')
    with draft.open('w', encoding='utf-8', newline='\n') as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    rename(draft, path)


def rename(source: Path, target: Path) -> None:
    """Rename within one folder, durably: a lost machine does not undo it."""
    source.replace(target)
    folder = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _take_soon(file: IO[str]) -> bool:
    for _ in range(_TRIES):
        if _take(file, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return True
        time.sleep(_PATIENCE)
    return False


def _take(file: IO[str], kind: int) -> bool:
    try:
        fcntl.flock(file, kind)
    except BlockingIOError:
        return False
    return True
