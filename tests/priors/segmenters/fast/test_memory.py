from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.extract import segment

LIMIT = 1500
POINTS = 6


@pytest.mark.slow
@pytest.mark.parametrize('preset', ['fast', 'stock'])
def test_memory_is_bounded_at_720p(checkpoint: Path, street: np.ndarray, tmp_path: Path, preset: str) -> None:
    large = cv2.resize(street, (1280, 720), interpolation=cv2.INTER_CUBIC)
    photo = tmp_path / 'large.png'
    cv2.imwrite(str(photo), large[..., ::-1])
    [found], megabytes = segment(preset, checkpoint, POINTS, [photo], {'OMP_NUM_THREADS': '1'})
    assert found.masks.shape[1:] == (720, 1280)
    # The stock grid of 32 points would hold more candidates, as bits.
    more = 3 * (32**2 - POINTS**2) * 720 * 1280 / 8 / 2**20 if preset == 'stock' else 0
    assert megabytes + more < LIMIT
