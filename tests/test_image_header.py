"""Sizes and turns of image files as OpenCV, Pillow and the frameworks see them."""

from __future__ import annotations

import io
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from sapd_plugin.image_header import image_size, read_header
from tests.oriented import app1, chunk, tiff_block, with_block

# Four colors, so that each of the eight orientations looks different.
PHOTO = np.zeros((24, 40, 3), np.uint8)
PHOTO[:12, :20], PHOTO[:12, 20:], PHOTO[12:, :20], PHOTO[12:] = 0, 90, 160, 160
PHOTO[12:, 20:] = 250
FORMATS = ['jpg', 'png', 'png, late', 'webp', 'webp, lossless', 'tiff', 'bmp', 'ppm']


def encoded(kind: str, block: bytes = b'', orientation: int = 1) -> bytes:
    """The photo as a file of a format, with an EXIF block, or TIFF's own entry."""
    name = {'jpg': 'JPEG', 'webp': 'WEBP', 'png': 'PNG', 'tiff': 'TIFF', 'bmp': 'BMP', 'ppm': 'PPM'}[kind.split(',')[0]]
    options = {'JPEG': {'quality': 95}, 'WEBP': {'lossless': 'lossless' in kind, 'quality': 95}}.get(name, {})
    if name == 'TIFF':
        options = {'tiffinfo': {0x0112: orientation}}
    file = io.BytesIO()
    Image.fromarray(PHOTO).save(file, name, **options, **({'exif': block} if name == 'WEBP' else {}))
    data = file.getvalue()
    late = 'late' in kind
    return with_block(data, block, late) if block and name in ('JPEG', 'PNG') else data


def decoded(data: bytes, flag: int = cv2.IMREAD_COLOR) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(data, np.uint8), flag)


def seen_alike(data: bytes) -> bool:
    """Whether all readers place the pixels alike."""
    with Image.open(io.BytesIO(data)) as image:
        pillow = [np.array(image.convert('L')), np.array(ImageOps.exif_transpose(image).convert('L'))]
    flags = (cv2.IMREAD_COLOR, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION, cv2.IMREAD_UNCHANGED)
    seen = [*pillow, *(decoded(data, flag)[..., 0] for flag in flags)]
    return all(image.shape == seen[0].shape and np.abs(image.astype(int) - seen[0]).max() < 60 for image in seen[1:])


@pytest.mark.parametrize('kind', FORMATS)
@pytest.mark.parametrize('orientation', [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 65535])
def test_an_image_has_the_size_that_opencv_decodes(tmp_path: Path, kind: str, orientation: int) -> None:
    data, path = encoded(kind, tiff_block(orientation), orientation), tmp_path / 'photo'
    path.write_bytes(data)
    height, width = decoded(data).shape[:2]
    assert image_size(path) == image_size(data) == (height, width)
    turned = orientation in range(2, 9) and kind not in ('bmp', 'ppm')
    header = read_header(path)
    assert header == (height, width, 3, header.may_turn)
    # A TIFF is turned by every reader here; it is decoded all the same, because others do not turn it.
    assert header.may_turn >= turned
    assert header.may_turn or seen_alike(data)
    if orientation == 1:
        assert not header.may_turn


@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(['jpg', 'png', 'png, late']),
    order=st.sampled_from('<>'),
    entry=st.one_of(st.sampled_from([1, 3, 4]), st.integers(0, 255)),  # EXIF defines 1 to 13; OpenCV takes any
    count=st.integers(0, 3),
    value=st.integers(0, 255),
    tag=st.sampled_from([0x0112, 0x0112, 0x010F]),
    before=st.binary(max_size=6),
)
def test_any_entry_of_any_type_gives_opencvs_size(
    kind: str, order: str, entry: int, count: int, value: int, tag: int, before: bytes
) -> None:
    data = encoded(kind, tiff_block(value, order, entry, count, tag))
    if kind == 'jpg' and before:  # one more segment, perhaps cut off
        data = data[:2] + app1(b'Exif\0\0' + before) + data[2:]
    header = read_header(data)
    assert (header.height, header.width) == decoded(data).shape[:2]
    assert header.may_turn or seen_alike(data)


def test_of_several_exif_blocks_the_one_that_opencv_takes_counts() -> None:
    data = encoded('jpg', tiff_block(1))
    for first, second in ((1, 6), (6, 1)):
        both = data[:2] + app1(b'Exif\0\0' + tiff_block(first)) + app1(b'Exif\0\0' + tiff_block(second)) + data[2:]
        assert image_size(both) == decoded(both).shape[:2]
        assert read_header(both).may_turn


def test_an_orientation_in_xmp_alone_is_not_applied_by_opencv() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    plain = encoded('jpg')
    data = plain[:2] + app1(b'http://ns.adobe.com/xap/1.0/\0' + xmp) + plain[2:]
    assert image_size(data) == decoded(data).shape[:2] == (24, 40)
    # Pillow applies it, in some versions.
    assert read_header(data).may_turn


def test_text_behind_the_pixels_of_a_png_is_harmless_unless_it_turns() -> None:
    data = encoded('png')
    date, turn = (
        chunk(b'tEXt', b'date:create\x002026'),
        chunk(b'iTXt', b'XML:com.adobe.xmp\0\0\0\0\0tiff:Orientation="6"'),
    )
    for late, turned in ((date, False), (turn, True), (b'', False)):
        assert read_header(data[:-12] + late + data[-12:]) == (24, 40, 3, turned)


def test_what_pillow_refuses_is_decoded_and_large_files_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hdr = cv2.imencode('.hdr', PHOTO.astype(np.float32))[1].tobytes()
    assert read_header(hdr)[:3] == (24, 40, 3)
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 100)  # Pillow's limit against bombs: an error above twice of it
    assert read_header(encoded('png'))[:3] == (24, 40, 3)
    (tmp_path / 'text.png').write_text('no image')
    with pytest.raises(OSError, match='not an image that OpenCV can decode'):
        image_size(tmp_path / 'text.png')
    with pytest.raises(FileNotFoundError):
        image_size(tmp_path / 'absent.png')
    with pytest.raises(OSError, match='not an image'):
        image_size(b'')
    os.mkfifo(tmp_path / 'pipe.png')
    with pytest.raises(OSError, match='a named pipe, expected a regular file'):
        image_size(tmp_path / 'pipe.png')


@pytest.mark.parametrize(('mode', 'channels'), [('L', 1), ('P', 3), ('RGBA', 4), ('1', 1)])
def test_channels_are_those_of_the_file(mode: str, channels: int) -> None:
    file = io.BytesIO()
    Image.fromarray(PHOTO).convert(mode).save(file, 'PNG')
    assert read_header(file.getvalue()) == (24, 40, channels, False)
