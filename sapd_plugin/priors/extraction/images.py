"""List the photos of an extraction, and read them exactly as the training will."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.regular_files import open_regular, read_regular
from sapd_plugin.texts import read_text

# Suffixes of image files, in any case. Both frameworks train on such files, so each needs a mask or a reason.
SUFFIXES = (
    *('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.bmp', '.dib', '.tif', '.tiff', '.webp', '.jp2', '.gif'),
    *('.ppm', '.pgm', '.pbm', '.pnm', '.heic', '.heif', '.avif', '.exr', '.hdr'),
)
_PNG, _JPEG = b'\x89PNG\r\n\x1a\n', b'\xff\xd8\xff'
# A marker of a JPEG, except those within the pixels: stuffed zeros and restarts.
_MARKER = re.compile(rb'\xff+([\x01-\xcf\xd8-\xfe])')
_END = 0xD9


class ImageError(SAPDError):
    """A file that is not an image, is truncated or cannot be read."""


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """Read a photo as (H,W,3) uint8 RGB. Raises `ImageError` if it cannot be read or decoded."""
    return decode_image(load_image(path), path)


def load_image(path: str | os.PathLike[str]) -> bytes:
    """Return the content of a photo's file. Raises `ImageError` if it cannot be read."""
    try:
        return read_regular(path)
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
    cut_png = data.startswith(_PNG) and data.rfind(b'IEND') < 0
    if cut_png or (data.startswith(_JPEG) and not _jpeg_ends(data)):
        raise ImageError(f'{where}: a truncated image.')
    try:
        image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    except cv2.error as error:
        raise ImageError(f'{where}: not decoded by OpenCV ({" ".join(str(error).split())}).') from error
    if image is None:
        raise ImageError(f'{where}: not an image that OpenCV can decode.')
    return np.ascontiguousarray(image[:, :, ::-1])


def _jpeg_ends(data: bytes) -> bool:
    """Return whether a JPEG file is complete; behind its end may be anything, such as the video of a motion photo."""
    at = len(_JPEG) - 1
    while (marker := _MARKER.search(data, at)) is not None:
        kind = marker[1][0]
        if kind == _END:
            return True
        # Each other segment says how long it is; a thumbnail in it has an end of its own. The pixels follow one.
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2], 'big')
    return False


class Listing(NamedTuple):
    """The images of a folder or a list.

    Attributes:
        files: the images, sorted.
        root: the folder that their keys are relative to.
        skipped: files of a folder that are not images by name or content, such as Thumbs.db.
    """

    files: list[Path]
    root: Path
    skipped: list[Path]


def say_skipped(skipped: Sequence[str | Path]) -> str:
    """Return a line on the skipped files of a `Listing`; some of them are named."""
    more = f' and {len(skipped) - 3} more' if len(skipped) > 3 else ''
    return f'{len(skipped)} files skipped that are not images: {", ".join(map(str, skipped[:3]))}{more}'


def list_images(images: Path, root: Path | None = None) -> Listing:
    """List the files to segment, sorted, and the folder that their keys are relative to.

    Args:
        images: a folder, searched with its sub-folders (hidden files and folders are left out), or a text file with a
            path per line, relative to ``root``.
        root: only for a list; by default the list's own folder, or that of the images if their paths are absolute and
            all in one folder.

    Raises:
        SAPDError: there is nothing to segment, a root is given with a folder of images, or one is needed for a list.
    """
    if images.is_dir():
        if root is not None:
            raise SAPDError(f'--root: found {root} with the folder {images}, expected it only with a list of images.')
        found = sorted(_walk(images))
        files = [file for file in found if _is_image(file)]
        listing = Listing(files, images, sorted(set(found) - set(files)))
        if found and not files:
            raise SAPDError(
                f'images: found no image among the {len(found)} files in {images}, such as {found[0].name}.'
            )
    elif images.is_file():
        lines = read_text(images, 'a folder, or a text file with one path per line').split('\n')
        paths = [Path(line.strip()) for line in lines if line.strip()]
        root = _root(images, paths) if root is None else root
        listing = Listing(sorted({root / path for path in paths}), root, [])
    else:
        found_it = 'a file that is neither' if images.exists() else f'no {images}'
        raise SAPDError(f'images: found {found_it}, expected a folder of images or a text file that lists them.')
    if not listing.files:
        raise SAPDError(f'images: found no file in {images}, expected at least one image.')
    return listing


def _root(images: Path, paths: Sequence[Path]) -> Path:
    """Return the folder that the keys of a list's images are relative to, if that is clear."""
    root, folders = images.parent, {path.parent for path in paths}
    if len(folders) == 1 and all(path.is_absolute() for path in paths):
        return folders.pop()
    outside = [path for path in paths if path.is_absolute() and not path.is_relative_to(os.path.abspath(root))]
    if not outside:
        return root
    hint = ''
    if len(outside) == len(paths):
        hint = f' Is it {os.path.commonpath([str(folder) for folder in folders])}, which holds all of them?'
    raise SAPDError(
        f'--root: missing, and {images} lists {outside[0]}, which is not below its own folder {root}. Expected the '
        f'folder that the names of masks are relative to: that of the ground truth in training.{hint}'
    )


def _is_image(file: Path) -> bool:
    """Return whether a file has the name or else the first bytes of an image."""
    if file.suffix.lower() in SUFFIXES:
        return True
    try:
        with open_regular(file):
            return bool(cv2.haveImageReader(str(file)))
    except UnicodeEncodeError:  # a name that is no text is told as such
        return True
    except OSError:
        return False


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
