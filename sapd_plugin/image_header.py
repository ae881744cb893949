"""The size of an image file as OpenCV decodes it, from its header alone where the header is enough.

Whether a reader applies the EXIF orientation depends on the reader, its version, the format and the place of the
entry. So no rule is kept here: a file whose metadata may turn it is decoded, and all others have one size for all.
"""

from __future__ import annotations

import contextlib
import os
import re
from io import BytesIO
from typing import BinaryIO, NamedTuple

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from sapd_plugin.regular_files import open_regular, read_regular

# Formats whose header tells the size of what OpenCV decodes; MPO is Pillow's name for some JPEG files.
_KNOWN = ('BMP', 'JPEG', 'MPO', 'PNG', 'PPM', 'TIFF', 'WEBP')
_ORIENTATION = 0x0112
# An orientation of an EXIF block, in either byte order, or of XMP. One short number outside 2 to 8 turns nothing;
# readers differ in what they take from an entry of another type, even an undefined one, or with several numbers.
_TURNS = re.compile(
    rb'\x12\x01(?!\x03\0\x01\0\0\0(?:[^\x02-\x08].|.[^\0])).\0'
    rb'|\x01\x12(?!\0\x03\0\0\0\x01(?:\0[^\x02-\x08]|[^\0].))\0.'
    rb'|Orientation[^0-9]{1,40}0*[2-8]',
    re.DOTALL,
)
# Bytes at the end of a PNG that are searched for an EXIF block behind the pixels: more than a JPEG's block can have,
# and, at first, as many as hold the whole last chunk of pixels that libpng writes.
_TAIL, _LAST_CHUNK = 1 << 17, 8192 + 64


class Header(NamedTuple):
    """What is known of an image file before its pixels are used.

    Attributes:
        height, width: in pixels, as ``cv2.imdecode(..., IMREAD_COLOR)`` returns the image.
        channels: of the file.
        may_turn: whether the file's metadata let some readers turn or mirror the image, so that they may differ.
    """

    height: int
    width: int
    channels: int
    may_turn: bool


def read_header(image: str | os.PathLike[str] | bytes) -> Header:
    """Read the size and the number of channels of an image file, from its header unless its metadata may turn it.

    Args:
        image: a path, or the content of the file.

    Raises:
        OSError: there is no such file, or it is not a regular one or not an image.
    """
    known = None
    with (
        BytesIO(image) if isinstance(image, bytes) else open_regular(image) as file,
        contextlib.suppress(OSError, SyntaxError, ValueError, Image.DecompressionBombError),
    ):
        known = _from_pillow(file)
    if known is not None and not known.may_turn:
        return known
    decoded = _decode(image, cv2.IMREAD_COLOR)
    if known is None:
        unchanged = _decode(image, cv2.IMREAD_UNCHANGED)
        channels = unchanged.shape[2] if unchanged.ndim == 3 else 1
    else:
        channels = known.channels
    return Header(decoded.shape[0], decoded.shape[1], channels, may_turn=True)


def image_size(image: str | os.PathLike[str] | bytes) -> tuple[int, int]:
    """Return (H, W) in pixels of an image file, a path or its content, as OpenCV decodes it. Raises as `read_header`.

    >>> image_size(cv2.imencode('.png', np.zeros((2, 3, 3), np.uint8))[1].tobytes())
    (2, 3)
    """
    header = read_header(image)
    return header.height, header.width


def _from_pillow(file: BinaryIO) -> Header | None:
    with Image.open(file) as opened:
        if opened.format not in _KNOWN:
            return None
        channels = 3 if opened.mode == 'P' else len(opened.getbands())
        return Header(opened.height, opened.width, channels, _may_turn(opened, file))


def _may_turn(opened: Image.Image, file: BinaryIO) -> bool:
    if isinstance(opened, TiffImagePlugin.TiffImageFile):
        return opened.tag_v2.get(_ORIENTATION, 1) != 1 or _turns(opened.tag_v2.get(TiffImagePlugin.XMP))
    if opened.format in ('JPEG', 'MPO'):
        # All segments: where there are several, readers differ in which one they take.
        return any(_turns(data) for marker, data in getattr(opened, 'applist', ()) if marker == 'APP1')
    if 'Raw profile type exif' in opened.info:  # in hexadecimal digits
        return True
    found = any(_turns(value) for key, value in opened.info.items() if re.search('exif|xmp', str(key), re.I))
    return found or (opened.format == 'PNG' and _turns_behind_the_pixels(file))


def _turns(block: object) -> bool:
    data = block.encode('utf-8', 'replace') if isinstance(block, str) else block
    return isinstance(data, bytes) and _TURNS.search(data) is not None


def _turns_behind_the_pixels(file: BinaryIO) -> bool:
    """Return whether metadata at the end of a PNG may turn it; OpenCV and Pillow read them there as well."""
    size = file.seek(0, os.SEEK_END)
    for length in (_LAST_CHUNK, _TAIL):
        file.seek(max(0, size - length))
        tail = file.read()
        at = tail.rfind(b'IDAT')
        if at >= 4 and at + 8 + int.from_bytes(tail[at - 4 : at], 'big') == len(tail) - 12:
            return False  # the last chunk of pixels, directly followed by the end
    return b'Raw profile type exif' in tail or _turns(tail)


def _decode(image: str | os.PathLike[str] | bytes, flag: int) -> np.ndarray:
    data = image if isinstance(image, bytes) else read_regular(image)
    try:
        decoded = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if data else None
    except cv2.error:
        decoded = None
    if decoded is None:
        raise OSError('not an image that OpenCV can decode')
    return decoded
