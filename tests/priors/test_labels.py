from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import LabelMap, row_runs, smallest_dtype

IMAGES = hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 5))


@given(IMAGES)
@settings(max_examples=200, deadline=None)
def test_relabelling_keeps_the_partition(image: np.ndarray) -> None:
    label_map = LabelMap.from_labels(image)
    labels, regions = label_map.labels, label_map.regions
    pairs = set(zip(image.ravel().tolist(), labels.ravel().tolist()))
    assert len(pairs) == len({old for old, _ in pairs}) == len({new for _, new in pairs})
    assert all((old == 0) == (new == 0) for old, new in pairs)
    for k, region in enumerate(regions, start=1):
        y, x = np.nonzero(labels == k)
        assert region['area'] == len(y)
        assert region['box'].tolist() == [x.min(), y.min(), x.max() + 1, y.max() + 1]
    firsts = [int((labels == k).argmax()) for k in range(1, len(regions) + 1)]
    order = list(zip((-regions['area'].astype(int)).tolist(), firsts))
    assert order == sorted(order)
    assert label_map.coverage == pytest.approx((image != 0).mean())


@given(IMAGES, st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_names_of_labels_do_not_matter(image: np.ndarray, random) -> None:
    names = np.array([0, *random.sample(range(1, 10_000), 5)])
    first, second = LabelMap.from_labels(image), LabelMap.from_labels(names[image])
    np.testing.assert_array_equal(first.labels, second.labels)


def test_small_parts_stay_visible() -> None:
    whole, part = np.ones((6, 6), bool), np.zeros((6, 6), bool)
    part[2:4, 2:4] = True
    for masks, scores in (([whole, part], [0.5, 0.75]), ([part, whole], [0.75, 0.5])):
        label_map = LabelMap.from_masks(masks, predicted_iou=scores)
        assert label_map.labels[3, 3] == 2
        assert label_map.regions['area'].tolist() == [32, 4]
        assert label_map.regions['predicted_iou'].tolist() == [0.5, 0.75]
        assert np.isnan(label_map.regions['stability']).all()


def test_covered_masks_are_dropped_and_the_rest_ordered_by_what_is_seen() -> None:
    masks = np.zeros((3, 4, 4), bool)
    masks[0, :, :3] = True  # 12 pixels, 8 of them covered
    masks[1, :, 1:3] = True
    masks[2, :, 1:3] = True
    label_map = LabelMap.from_masks(masks, predicted_iou=[0.25, 0.5, 1.0])
    assert label_map.regions['area'].tolist() == [8, 4]
    assert label_map.regions['predicted_iou'].tolist() == [1.0, 0.25]


def test_no_mask_at_all() -> None:
    label_map = LabelMap.from_masks([], shape=(3, 5))
    assert label_map.shape == (3, 5)
    assert len(label_map) == label_map.coverage == 0


@pytest.mark.parametrize(
    ('regions', 'dtype'), [(255, np.uint8), (256, np.uint16), (65_535, np.uint16), (65_536, np.uint32)]
)
def test_the_dtype_is_the_smallest_that_is_enough(regions: int, dtype: type) -> None:
    label_map = LabelMap.from_labels(np.arange(1, regions + 1).reshape(1, -1))
    assert label_map.labels.dtype == dtype
    assert label_map.labels.max() == len(label_map) == regions


def test_arrays_are_read_only() -> None:
    label_map = LabelMap.from_labels(np.ones((2, 2), int))
    with pytest.raises(ValueError, match='read-only'):
        label_map.labels[0, 0] = 5


@pytest.mark.parametrize(
    ('image', 'message'),
    [
        (np.zeros((2, 2)), 'found dtype float64, expected integers'),
        (np.array([[0, -1]]), 'found the label -1'),
        (np.zeros((2, 2, 3), int), r'found shape \(2, 2, 3\)'),
        (np.zeros((0, 2), int), 'at least one pixel'),
    ],
)
def test_other_images_are_refused(image: np.ndarray, message: str) -> None:
    with pytest.raises(SAPDError, match=message):
        LabelMap.from_labels(image)


def test_other_masks_are_refused() -> None:
    mask = np.ones((2, 2), bool)
    with pytest.raises(SAPDError, match=r'mask 1 has shape \(3, 2\), expected \(2, 2\)'):
        LabelMap.from_masks([mask, np.ones((3, 2), bool)])
    with pytest.raises(SAPDError, match='found 2 values of stability, expected 1'):
        LabelMap.from_masks([mask], stability=[1, 2])
    with pytest.raises(SAPDError, match='no mask and no shape'):
        LabelMap.from_masks([])
    with pytest.raises(SAPDError, match='expected at most 2147483647'):
        smallest_dtype(2**31)


def test_runs_begin_with_each_row() -> None:
    runs = row_runs(np.array([[1, 1], [1, 2]]))
    assert [runs.start.tolist(), runs.length.tolist(), runs.value.tolist()] == [[0, 2, 3], [2, 1, 1], [1, 1, 2]]
