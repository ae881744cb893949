"""Reading of regular files alone: a named pipe may be waited for without end, and a device may have no end."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from typing import cast


def open_regular(path: str | os.PathLike[str], buffering: int = -1) -> BufferedReader:
    """Open a regular file, or a link to one, for reading.

    Raises:
        OSError: there is no such file, or it is not a regular one; ``strerror`` says what it is.
    """
    check_kind(os.stat(path), path)
    # It may have been replaced in between: opening a pipe without a writer waits, too.
    file = cast(BufferedReader, open(path, 'rb', buffering, opener=_open_without_waiting))  # noqa: SIM115
    try:
        check_kind(os.fstat(file.fileno()), path)
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


def check_kind(status: os.stat_result, path: str | os.PathLike[str]) -> None:
    """Refuse what is not a regular file, given its ``status``. Raises OSError as `open_regular`."""
    if not stat.S_ISREG(status.st_mode):
        kinds = {stat.S_IFDIR: 'folder', stat.S_IFIFO: 'named pipe', stat.S_IFSOCK: 'socket'}
        kind = kinds.get(stat.S_IFMT(status.st_mode), 'device')
        raise OSError(errno.EINVAL, f'a {kind}, expected a regular file', os.fspath(path))
