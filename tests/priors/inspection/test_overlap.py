from __future__ import annotations

import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.inspection.overlap import compare_maps, covering, segmentation_covering

TRUTH = np.array([[1, 1, 1, 2], [1, 1, 1, 2]])


@pytest.mark.parametrize(
    ('ours', 'rest', 'expected'),
    [
        ([1, 1, 1, 2], False, 1.0),
        ([9, 9, 9, 4], False, 1.0),  # names do not matter
        ([1, 1, 2, 2], False, (6 * 4 / 6 + 2 * 2 / 4) / 8),
        ([1, 1, 1, 1], False, (6 * 6 / 8 + 2 * 2 / 8) / 8),
        ([0, 0, 0, 5], False, 0.25),
        ([0, 0, 0, 5], True, 1.0),
        ([0, 0, 0, 0], False, 0.0),
    ],
)
def test_covering_by_hand(ours: list[int], rest: bool, expected: float) -> None:
    """Truth regions of 6 and 2 pixels; pixels without a mask cover nothing unless asked for."""
    assert segmentation_covering(np.array([ours, ours]), TRUTH, rest) == pytest.approx(expected, abs=1e-12)


def test_a_region_of_the_truth_may_be_named_0() -> None:
    assert segmentation_covering(TRUTH, TRUTH - 1) == 1.0


def test_what_is_no_pair_of_label_images_is_refused() -> None:
    with pytest.raises(SAPDError, match=r'found labels \(2, 4\) and truth \(4, 2\)'):
        segmentation_covering(TRUTH, TRUTH.T)
    with pytest.raises(SAPDError, match=r'truth: found float64 \(2, 4\)'):
        segmentation_covering(TRUTH, TRUTH.astype(float))
    with pytest.raises(SAPDError, match='found no annotator'):
        covering(TRUTH, [])


def test_maps_are_matched_one_to_one() -> None:
    first = np.array([[1, 1, 1, 1, 2, 2, 0, 0]])
    assert compare_maps(first, first * 7).matched_iou == 1.0
    second = np.array([[1, 1, 1, 2, 2, 2, 0, 3]])
    found = compare_maps(first, second)
    # 1-1 share 3 of 4 pixels, 2-2 share 2 of 3, and region 3 has no partner.
    assert found.matched_iou == pytest.approx((3 / 4 + 2 / 3) / 3)
    assert (found.matched, found.regions, found.coverage) == (2, (2, 3), (0.75, 0.875))
    nothing = np.zeros((2, 3), int)
    assert compare_maps(nothing, nothing).matched_iou == 1.0
    assert compare_maps(nothing, nothing + 1).matched_iou == 0.0
    with pytest.raises(SAPDError, match='expected equal sizes'):
        compare_maps(nothing, first)
