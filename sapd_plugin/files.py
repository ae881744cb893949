"""Files: atomic writes, digests, and the size of an image as OpenCV decodes it."""

from __future__ import annotations

import hashlib
import os
from io import BytesIO
from pathlib import Path

from PIL import Image

_EXIF_ORIENTATION = 0x0112
# The formats whose EXIF orientation OpenCV applies when it decodes; MPO is Pillow's name for some JPEG files.
_ROTATED_FORMATS = ('JPEG', 'MPO', 'PNG')
_CHUNK = 1 << 20


def write_atomically(path: Path, data: str | bytes) -> None:
    """Write a file that is either complete or absent, even after a crash or a power failure.

    Args:
        path: the file; its folder exists, and no other process writes the same file meanwhile.
        data: text is encoded as UTF-8, with line ends as they are.

    Raises:
        OSError: the file cannot be written; an earlier version stays.
    """
    draft = path.with_name(f'.{path.name}.draft')
    with draft.open('wb') as file:
        file.write(data.encode() if isinstance(data, str) else data)
        file.flush()
        os.fsync(file.fileno())
    rename_durably(draft, path)


def rename_durably(source: Path, target: Path) -> None:
    """Rename within one folder, and replace ``target``; a power failure does not undo it."""
    source.replace(target)
    if os.name == 'posix':  # elsewhere a folder cannot be opened, and the rename is durable by itself
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def digest(path: Path, algorithm: str = 'sha256') -> str:
    """Return the hexadecimal digest of a file of any size.

    Args:
        path: the file.
        algorithm: any name that :mod:`hashlib` knows.
    """
    value = hashlib.new(algorithm)
    with path.open('rb') as file:
        while chunk := file.read(_CHUNK):
            value.update(chunk)
    return value.hexdigest()


def image_size(image: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Return (H, W) in pixels of an image as OpenCV decodes it, from its header alone.

    OpenCV applies the EXIF orientation of JPEG and PNG files, and ignores it in other formats.

    Args:
        image: a path, or the encoded bytes.

    Raises:
        OSError: there is no such file, or it is not an image.
    """
    with Image.open(BytesIO(image) if isinstance(image, bytes) else image) as opened:
        # Pillow would decode a complete PNG to look for EXIF data behind the pixels.
        has_exif = opened.format in _ROTATED_FORMATS and (opened.format != 'PNG' or 'exif' in opened.info)
        rotated = has_exif and 5 <= opened.getexif().get(_EXIF_ORIENTATION, 1) <= 8
        width, height = opened.size
    return (width, height) if rotated else (height, width)
