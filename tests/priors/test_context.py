from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.context import COLUMNS, REGIONS, patch_context, region_context
from sapd_plugin.priors.labels import LabelMap

MAPS = hnp.arrays(np.int64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12), elements=st.integers(0, 5))
SEEDS = st.integers(0, 2**32 - 1)


def photo_of(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def context_of(label_map: LabelMap) -> np.ndarray:
    assert label_map.colors is not None
    return region_context(label_map.regions, label_map.colors, label_map.labels.size)


@given(MAPS, SEEDS)
@settings(max_examples=100, deadline=None)
def test_rows_are_the_statistics_of_their_pixels(image: np.ndarray, seed: int) -> None:
    photo = photo_of(image.shape, seed)
    label_map = LabelMap.from_labels(image).with_colors(photo)
    context = context_of(label_map)
    assert context.shape == (len(label_map) + 1, COLUMNS)
    assert context.dtype == np.float32
    for label, row in enumerate(context):
        pixels = photo[label_map.labels == label] / 255
        if not len(pixels):
            assert label == 0
            assert not row.any()
            continue
        np.testing.assert_allclose(row[:3], pixels.mean(axis=0), atol=0.5001 / 255)
        np.testing.assert_allclose(row[3:6], pixels.std(axis=0), atol=0.2501 / 255)
        assert row[6] == pytest.approx(len(pixels) / image.size, abs=1e-6)
    assert context[:, 6].sum() == pytest.approx(1, abs=1e-6)


def test_extreme_colors_fit() -> None:
    photo = np.zeros((2, 2, 3), np.uint8)
    photo[0] = 255
    context = context_of(LabelMap.from_labels(np.ones((2, 2), int)).with_colors(photo))
    np.testing.assert_allclose(context[1], [0.5] * 6 + [1], atol=0.6 / 255)


@pytest.mark.parametrize('photo', [np.zeros((2, 3), np.uint8), np.zeros((3, 2, 3), np.uint8), np.zeros((2, 3, 3))])
def test_another_photo_is_refused(photo: np.ndarray) -> None:
    with pytest.raises(SAPDError, match=r'found a photo of shape .* expected \(2, 3, 3\) and uint8'):
        LabelMap.from_labels(np.ones((2, 3), int)).with_colors(photo)


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=st.integers(0, 200)),
    st.integers(1, 80),
)
@settings(max_examples=200, deadline=None)
def test_a_patch_keeps_its_regions_and_their_rows(mask: np.ndarray, limit: int) -> None:
    photo = np.random.default_rng(0).random((201, COLUMNS)).astype(np.float32)
    new, rows = patch_context(mask, photo, limit)
    assert (new.dtype, new.shape) == (np.int32, mask.shape)
    assert (rows.dtype, rows.shape) == (np.float32, (limit + 1, COLUMNS))
    np.testing.assert_array_equal(rows[0], photo[0])
    kept = np.unique(mask[new != 0])
    assert np.unique(new[new != 0]).tolist() == list(range(1, len(kept) + 1))
    np.testing.assert_array_equal(rows[1 : len(kept) + 1], photo[kept])
    assert not rows[len(kept) + 1 :].any()
    np.testing.assert_array_equal(rows[new[new != 0]], photo[mask[new != 0]])
    present, pixels = np.unique(mask[mask != 0], return_counts=True)
    assert len(kept) == min(limit, len(present))
    dropped = pixels[~np.isin(present, kept)]
    assert not len(dropped) or dropped.max() <= pixels[np.isin(present, kept)].min()


def test_flips_and_crops_do_not_change_rows() -> None:
    rng = np.random.default_rng(0)
    label_map = LabelMap.from_labels(np.kron(rng.integers(0, 30, (8, 9)), np.ones((5, 5), int)))
    label_map = label_map.with_colors(photo_of(label_map.shape, 1))
    crop, context = label_map.labels[3:30, 4:31, None], context_of(label_map)
    mask, rows = patch_context(crop, context)
    assert rows.shape == (REGIONS + 1, COLUMNS)
    for turn in (lambda a: a[::-1], lambda a: a[:, ::-1], lambda a: a.transpose(1, 0, 2)):
        turned, same = patch_context(turn(crop), context)
        np.testing.assert_array_equal(turned, turn(mask))
        np.testing.assert_array_equal(same, rows)
