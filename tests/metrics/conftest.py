from __future__ import annotations

import numpy as np
import pytest

from tests.photos import photographs, rainy


@pytest.fixture(scope='session')
def photos_pair() -> tuple[np.ndarray, np.ndarray]:
    """A rainy photo and its clean one, RGB uint8 321x481."""
    return rainy('001'), photographs()['001']
