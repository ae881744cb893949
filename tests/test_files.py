"""Sizes of images as OpenCV decodes them, and atomic writes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from sapd_plugin.files import digest, image_size, write_atomically


@pytest.mark.parametrize('suffix', ['jpg', 'png', 'webp', 'bmp'])
@pytest.mark.parametrize('orientation', [1, 3, 6, 8, 9])
def test_an_image_has_the_size_that_opencv_decodes(tmp_path: Path, suffix: str, orientation: int) -> None:
    path, exif = tmp_path / f'photo.{suffix}', Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(path, exif=exif)
    assert image_size(path) == image_size(path.read_bytes()) == cv2.imread(str(path)).shape[:2]


def test_a_failed_write_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / 'results.json'
    write_atomically(path, 'first')
    (tmp_path / '.results.json.draft').mkdir()
    with pytest.raises(OSError, match='draft'):
        write_atomically(path, 'second')
    assert path.read_text() == 'first'
    assert digest(path, 'md5') == '8b04d5e3775d298e78455efc5ca404d5'
