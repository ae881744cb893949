"""Image files whose EXIF block says how to turn them, as cameras and editors write them."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image

from sapd_plugin.priors.labels import LabelMap
from tests.photos import quantise


def tiff_block(value: int, order: str = '<', kind: int = 3, count: int = 1, tag: int = 0x0112) -> bytes:
    """An EXIF block with one entry."""
    size = {1: 'B3x', 3: 'H2x'}.get(kind, 'I')
    entry = struct.pack(f'{order}HHI{size}', tag, kind, count, value)
    return (b'II' if order == '<' else b'MM') + struct.pack(f'{order}HIH', 42, 8, 1) + entry + bytes(4)


def app1(body: bytes) -> bytes:
    return b'\xff\xe1' + struct.pack('>H', len(body) + 2) + body


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))


def with_block(data: bytes, block: bytes, late: bool = False) -> bytes:
    """Put an EXIF block into a JPEG or a PNG file; in a PNG behind the pixels if ``late``."""
    if data.startswith(b'\xff\xd8'):
        return data[:2] + app1(b'Exif\0\0' + block) + data[2:]
    at = len(data) - 12 if late else 33
    return data[:at] + chunk(b'eXIf', block) + data[at:]


def turned(data: bytes, orientation: int, late: bool = False) -> bytes:
    """Return a JPEG or PNG file with an orientation."""
    return with_block(data, tiff_block(orientation), late)


class Levels:
    """A segmenter of grey levels, which can be checked in any crop."""

    def __init__(self) -> None:
        self.settings = {'segmenter': 'levels'}

    def __call__(self, image: np.ndarray) -> LabelMap:
        return LabelMap.from_labels(quantise(image))


def with_orientation(bgr: np.ndarray, suffix: str, orientation: int) -> bytes:
    """Encode an image without loss, but for JPEG, with an EXIF orientation."""
    if suffix in ('png', 'jpg'):
        return turned(cv2.imencode(f'.{suffix}', bgr)[1].tobytes(), orientation, late=True)
    file = io.BytesIO()
    options = {'tiffinfo': {0x0112: orientation}} if suffix == 'tiff' else {'exif': tiff_block(orientation)}
    Image.fromarray(bgr[..., ::-1]).save(file, suffix, **options, **({'lossless': True} if suffix == 'webp' else {}))
    return file.getvalue()
