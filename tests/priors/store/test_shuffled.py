"""The control of masks shuffled between images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.shuffled import ShuffledMasks, StretchedMask
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter
from sapd_plugin.priors.store.codec import Record, encode
from sapd_plugin.priors.training import Target, open_training_store

SIZES = {f'photo{i}': (20 + i, 30 - i) for i in range(7)}


@pytest.fixture
def store(tmp_path):
    """Each map is a rectangle of an area of its own."""
    with MaskStoreWriter(tmp_path / 'masks', {'segmenter': 'test'}) as writer:
        for i, (key, size) in enumerate(SIZES.items()):
            labels = np.zeros(size, int)
            labels[: i + 1, : i + 2] = 1
            writer.put(key, LabelMap.from_labels(labels))
    return MaskStore(tmp_path / 'masks')


def nearest(labels, size):
    """The pixel that holds the centre of each pixel of the resized map."""
    rows, columns = (np.floor((np.arange(n) + 0.5) * own / n).astype(int) for n, own in zip(size, labels.shape))
    return labels[rows][:, columns]


def test_every_image_gets_another_ones_mask_and_every_mask_is_used(store):
    shuffled = ShuffledMasks(store, SIZES, seed=3)
    givers = []
    for key, size in SIZES.items():
        mask = shuffled.record(key)
        assert mask.shape == (*size, 1)
        labels = mask[:, :][..., 0]
        same = [other for other in SIZES if np.array_equal(labels, nearest(store.record(other).labels(), size))]
        assert len(same) == 1
        assert same != [key]
        givers += same
    assert sorted(givers) == sorted(SIZES)


def test_the_seed_draws_the_order_and_nothing_else_does(store):
    def masks(seed, keys=SIZES):
        shuffled = ShuffledMasks(store, keys, seed)
        return [shuffled.record(key)[:, :].tobytes() for key in SIZES]

    assert masks(1) == masks(1, list(reversed([*SIZES, *SIZES])))
    assert masks(1) != masks(2)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_a_crop_is_the_crop_of_the_nearest_neighbour_resize(data):
    side = st.integers(1, 40)
    labels = np.random.default_rng(data.draw(st.integers(0, 99))).integers(0, 5, (data.draw(side), data.draw(side)))
    record = Record(encode(LabelMap.from_labels(labels), bytes(16)))
    height, width = data.draw(side), data.draw(side)
    whole = nearest(record.labels(), (height, width))
    top, left = data.draw(st.integers(0, height)), data.draw(st.integers(0, width))
    bottom, right = data.draw(st.integers(top, height)), data.draw(st.integers(left, width))
    crop = StretchedMask(record, height, width)[top:bottom, left:right, ...]
    assert crop.dtype == record.dtype
    np.testing.assert_array_equal(crop[..., 0], whole[top:bottom, left:right])


@pytest.mark.parametrize('seed', ['1', 1.5, True])
def test_a_seed_that_is_none_is_refused(store, seed):
    targets = [Target(key, key, lambda size=size: size) for key, size in SIZES.items()]
    with pytest.raises(SAPDError, match=r'train\.mask_shuffle: found .*expected an integer'):
        open_training_store('train', {'mask_store': store.path, 'mask_shuffle': seed}, targets)


def test_one_image_has_nobody_to_exchange_with(store):
    with pytest.raises(SAPDError, match='expected at least 2'):
        ShuffledMasks(store, ['photo1', 'photo1'], 0)
