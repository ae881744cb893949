from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture(scope='session')
def photos_pair(shared_data: Path) -> tuple[np.ndarray, np.ndarray]:
    """A real rainy photo and its clean one, RGB uint8 321x481."""
    names = (shared_data / 'rain100l' / kind / '001.png' for kind in ('rainy', 'clean'))
    rainy, clean = (cv2.imread(str(name))[..., ::-1] for name in names)
    return rainy, clean
