"""Atomic writes, reading of regular files alone, and digests."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import cast


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a file so that it is complete or unchanged, even after a crash or a power failure.

    Args:
        path: the file; its folder exists, and no other process writes the same file at the same time.
        data: text is encoded as UTF-8, with line ends unchanged.

    Raises:
        OSError: the file cannot be written; an earlier version is kept.
    """
    draft = path.with_name(f'.{path.name}.draft')
    with draft.open('wb') as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    rename_durably(draft, path)


def rename_durably(source: Path, target: Path) -> None:
    """Rename a file within one folder, replacing ``target``, so that a power failure does not undo it."""
    source.replace(target)
    if os.name == 'posix':  # on Windows a folder cannot be opened, and a rename is durable without this
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def open_regular(path: str | os.PathLike[str], buffering: int = -1) -> BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Reading a named pipe would wait for ever, and reading a device might never end.

    Raises:
        OSError: there is no such file, or it is not a regular one; ``strerror`` says what it is.
    """
    _check_kind(os.stat(path), path)
    # It may have been replaced in between: opening a pipe without a writer waits, too.
    file = cast(BufferedReader, open(path, 'rb', buffering, opener=_open_without_waiting))  # noqa: SIM115
    try:
        _check_kind(os.fstat(file.fileno()), path)
    except OSError:
        file.close()
        raise
    return file


def read_regular(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a regular file. Raises as `open_regular`."""
    with open_regular(path) as file:
        return file.read()


def _open_without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, 'O_NONBLOCK', 0))


def _check_kind(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: 'folder', stat.S_IFIFO: 'named pipe', stat.S_IFSOCK: 'socket'}
        kind = kinds.get(stat.S_IFMT(status.st_mode), 'device')
        raise OSError(errno.EINVAL, f'a {kind}, expected a regular file', os.fspath(path))


def digest(path: Path, algorithm: str = 'sha256') -> str:
    """Return the hexadecimal digest of a file; ``algorithm`` is a name that :mod:`hashlib` supports."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
