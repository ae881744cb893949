"""Atomic writes, and digests of files."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from sapd_plugin.regular_files import open_regular


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


def digest(path: Path, algorithm: str = 'sha256') -> str:
    """Return the hexadecimal digest of a file; ``algorithm`` is a name that :mod:`hashlib` supports."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
