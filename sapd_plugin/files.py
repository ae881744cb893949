"""Atomic writes, and digests of files."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from sapd_plugin.regular_files import open_regular


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a file so that it is complete or unchanged, even after a crash or a power failure.

    Args:
        path: the file; its folder exists, and no other process writes the same file at the same time.
        data: text is encoded as UTF-8, with line ends unchanged.

    Raises:
        OSError: the file cannot be written; an earlier version is kept.
    """
    with draft_of(path) as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextmanager
def draft_of(path: Path) -> Iterator[BinaryIO]:
    """Open a draft of a file, which replaces it after the block; if the block fails, there is neither draft nor change.

    A killed process leaves its draft, a hidden file; :func:`delete_drafts` deletes such drafts.
    """
    draft = path.with_name(f'.{path.name}.draft')
    with draft.open('wb') as file:
        try:
            yield file
            file.flush()
            os.fsync(file.fileno())
        except BaseException:
            draft.unlink(missing_ok=True)
            raise
    rename_durably(draft, path)


def delete_drafts(folder: Path) -> None:
    """Delete what killed processes left unfinished in a folder; no process writes there at the same time."""
    for draft in folder.glob('.*.draft'):
        draft.unlink(missing_ok=True)


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
