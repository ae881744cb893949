from __future__ import annotations

import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.inspection.pictures import boundaries, overlay, region_colours


def test_colours_are_fixed_and_apart() -> None:
    colours = region_colours(np.arange(200))
    assert colours.dtype == np.uint8
    assert colours[0].tolist() == [0, 0, 0]
    assert len(np.unique(colours, axis=0)) > 190
    distance = np.abs(np.diff(colours[1:].astype(int), axis=0)).sum(axis=1)
    assert distance.min() > 60
    np.testing.assert_array_equal(region_colours(np.array([[7]]))[0, 0], colours[7])


def test_overlay_blends_and_draws_boundaries() -> None:
    image = np.full((4, 6, 3), 100, np.uint8)
    labels = np.zeros((4, 6, 1), np.int32)
    labels[:, 3:] = 2
    before = image.copy()
    picture = overlay(image, labels)
    assert (picture.shape, picture.dtype) == ((4, 6, 3), np.uint8)
    assert (picture[:, 2] == 255).all()
    assert (picture[:, :2] == 50).all()
    np.testing.assert_array_equal(picture[0, 5], (50 + region_colours(np.array(2)) / 2).round())
    np.testing.assert_array_equal(image, before)


def test_boundaries_lie_between_labels() -> None:
    labels = np.array([[1, 1], [1, 2]])
    assert boundaries(labels).tolist() == [[False, True], [True, False]]


def test_other_sizes_are_refused() -> None:
    with pytest.raises(SAPDError, match=r'found an image \(4, 5, 3\) uint8 and labels \(4, 6\)'):
        overlay(np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6), int))
