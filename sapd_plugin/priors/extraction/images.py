"""List the photos of an extraction, and read them exactly as the training will."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from sapd_plugin.errors import SAPDError

_PNG, _JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'


class ImageError(SAPDError):
    """A file that is not an image, is truncated or cannot be read."""


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a photo as (H,W,3) uint8 RGB. Raises `ImageError` if it cannot be read or decoded."""
    return decode_image(load_image(path), path)


def load_image(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a photo's file. Raises `ImageError` if it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f'{path}: cannot be read ({error.strerror}).') from error


def decode_image(data: bytes, where: str | os.PathLike[str]) -> np.ndarray:
    """Decode an image file's bytes to (H,W,3) uint8 RGB.

    Decoded by ``cv2.imdecode(..., IMREAD_COLOR)`` as BasicSR and MMagic do, so that the mask has the geometry of the
    training image: rotated by its EXIF tag, gray as three channels, without alpha, 16 bits converted to 8.

    Args:
        data: the file's bytes.
        where: its name, for messages.

    Raises:
        ImageError: it is not an image, or is truncated (OpenCV would fill the rest with gray).
    """
    if not data:
        raise ImageError(f'{where}: an empty file.')
    # End markers: IEND in PNG; in JPEG, EOI after the start of the last scan (a thumbnail has its own EOI).
    cut_png = data.startswith(_PNG) and data.rfind(b'IEND') < 0
    cut_jpeg = data.startswith(_JPEG) and data.rfind(b'\xff\xd9') <= data.rfind(b'\xff\xda')
    if cut_png or cut_jpeg:
        raise ImageError(f'{where}: a truncated image.')
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f'{where}: not decoded by OpenCV ({" ".join(str(error).split())}).') from error
    if image is None:
        raise ImageError(f'{where}: not an image that OpenCV can decode.')
    return np.ascontiguousarray(image[:, :, ::-1])


def list_images(images: Path, root: Path | None = None) -> tuple[list[Path], Path]:
    """List the files to segment, sorted, and the folder that their keys are relative to.

    Args:
        images: a folder, searched with its sub-folders (hidden files and folders are left out), or a text file with a
            path per line, relative to ``root``.
        root: only for a list; by default the list's own folder.

    Raises:
        SAPDError: there is nothing to segment, or a root is given with a folder of images.
    """
    if images.is_dir():
        if root is not None:
            raise SAPDError(f'--root: found {root} with the folder {images}, expected it only with a list of images.')
        # As in the frameworks' own scans, every file that is not hidden. Non-images are reported later, not skipped.
        files, root = sorted(_walk(images)), images
    elif images.is_file():
        root = images.parent if root is None else root
        try:
            lines = images.read_text(encoding='utf-8').split('\n')
        except UnicodeDecodeError as error:
            raise SAPDError(f'images: {images} is not UTF-8 text, expected a folder, or one path per line.') from error
        files = sorted({root / line.strip() for line in lines if line.strip()})
    else:
        raise SAPDError(f'images: found no {images}, expected a folder of images or a text file that lists them.')
    if not files:
        raise SAPDError(f'images: found no file in {images}, expected at least one image.')
    return files, root


def _walk(folder: Path) -> Iterator[Path]:
    def refuse(error: OSError) -> None:
        raise SAPDError(f'images: the folder {error.filename} cannot be listed ({error.strerror}).') from error

    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        status = os.stat(place)
        if (status.st_dev, status.st_ino) in seen:
            # A cycle of symbolic links, or a link to a folder that is searched anyway.
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith('.'))
        yield from (Path(place, name) for name in names if not name.startswith('.'))
