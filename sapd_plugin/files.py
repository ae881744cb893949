"""Atomic writes, digests, and the size of an image file as OpenCV decodes it."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path

from PIL import Image

_EXIF_ORIENTATION = 0x0112
# The formats whose EXIF orientation OpenCV applies when it decodes; MPO is Pillow's name for some JPEG files.
_ROTATED_FORMATS = ('JPEG', 'MPO', 'PNG')


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
    with path.open('rb') as file:
        return hashlib.file_digest(file, algorithm).hexdigest()


def image_size(image: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Return (H, W) in pixels of an image file as OpenCV decodes it, from its header alone.

    OpenCV applies the EXIF orientation of JPEG and PNG files, and ignores it in other formats.

    Args:
        image: a path, or the content of the file.

    Raises:
        OSError: there is no such file, or it is not an image.
    """
    with Image.open(BytesIO(image) if isinstance(image, bytes) else image) as opened:
        # Without EXIF data in the header, Pillow would decode the whole PNG to look for it after the pixels.
        has_exif = opened.format in _ROTATED_FORMATS and (opened.format != 'PNG' or 'exif' in opened.info)
        rotated = has_exif and 5 <= opened.getexif().get(_EXIF_ORIENTATION, 1) <= 8
        width, height = opened.size
    return (width, height) if rotated else (height, width)
