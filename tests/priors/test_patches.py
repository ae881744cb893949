from __future__ import annotations

import numpy as np
import pytest

from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.patches import few_regions, sample_patches
from sapd_plugin.priors.shuffled import ShuffledMasks
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter

KEYS = ['a', 'b', 'c']


@pytest.fixture(scope='module')
def squares(tmp_path_factory: pytest.TempPathFactory) -> MaskStore:
    """Three maps of 240x320 pixels: squares of 40 pixels, each its own region, apart from a strip without a mask."""
    folder = tmp_path_factory.mktemp('squares')
    with MaskStoreWriter(folder, {'segmenter': 'test'}) as writer:
        for key in KEYS:
            labels = np.kron(np.arange(1, 49).reshape(6, 8), np.ones((40, 40), int))
            labels[:, :10] = 0
            writer.put(key, LabelMap.from_labels(labels))
    return MaskStore(folder)


def test_regions_of_patches_are_counted(squares: MaskStore) -> None:
    whole = sample_patches(squares, KEYS, None)
    assert whole == (48, 0, pytest.approx(1 / 48))
    assert sample_patches(squares, KEYS, (999, 999)) == whole
    pixel = sample_patches(squares, KEYS, (1, 1))
    assert pixel.median == 1
    assert pixel.single == 1
    assert 0.9 < pixel.largest < 1  # 10 of 320 columns have no mask
    patch = sample_patches(squares, KEYS, (80, 80))
    assert patch.median == 9
    assert 0 <= patch.single < 0.05


def test_the_warning_has_the_numbers(squares: MaskStore) -> None:
    assert few_regions('gt_size', squares, KEYS, (80, 80)) == ''
    assert few_regions('gt_size', squares, KEYS, None) == ''
    warning = few_regions('gt_size', squares, KEYS, (8, 8))
    assert warning.startswith('gt_size: in the median, a patch of 8x8 holds 1 regions, expected at least 3; ')
    assert 'Larger patches hold more: 16 at 128, 30 at 192, 42 at 256.' in warning


def test_patches_are_the_same_each_time_and_disturb_no_draws(squares: MaskStore) -> None:
    state = np.random.get_state()[1].copy()
    assert sample_patches(squares, KEYS, (30, 50)) == sample_patches(squares, KEYS, (30, 50))
    np.testing.assert_array_equal(np.random.get_state()[1], state)
    assert sample_patches(ShuffledMasks(squares, KEYS, 1), KEYS, (80, 80)).median == 9
