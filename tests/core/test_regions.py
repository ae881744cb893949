from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sapd_plugin.core.regions import boundaries, majority_downsample, painted_means, region_means, region_order


def random_labels(seed: int, n: int, h: int, w: int, top: int) -> torch.Tensor:
    return torch.randint(0, top + 1, (n, 1, h, w), generator=torch.Generator().manual_seed(seed), dtype=torch.int32)


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 12))
def test_regions_are_ordered_by_descending_area(seed, n, h, w, top):
    labels = random_labels(seed, n, h, w, top)
    order, sizes = region_order(labels, max_regions=5, min_size=2)
    for image, image_order, image_sizes in zip(labels, order, sizes):
        areas = {int(v): int((image == v).sum()) for v in image.unique() if v != 0}
        expected = sorted((v for v in areas if areas[v] >= 2), key=lambda v: (-areas[v], v))[:5]
        for rank, label in enumerate(expected, 1):
            assert torch.equal(image_order == rank, image == label)
            assert image_sizes[rank - 1] == areas[label]
        assert image_order.max() == len(expected)
        assert (image_sizes > 0).sum() == len(expected)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(0, 12))
def test_the_static_order_is_the_same_with_a_fixed_number_of_sizes(seed, n, h, w, top):
    labels = random_labels(seed, n, h, w, top) * 70_000  # any label, not only those of 8 or 16 bits
    for max_regions in (1, 5, 200):
        order, sizes = region_order(labels, max_regions, min_size=2)
        static_order, static_sizes = region_order(labels, max_regions, min_size=2, static=True)
        assert torch.equal(static_order, order)
        assert static_sizes.shape == (n, max_regions)
        assert torch.equal(static_sizes[:, : sizes.shape[1]], sizes)
        assert static_sizes[:, sizes.shape[1] :].eq(0).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4), st.integers(1, 4), st.integers(0, 5))
def test_majority_equals_counting(seed, stride, h, w, top):
    labels = random_labels(seed, 2, h * stride, w * stride, top)
    small = majority_downsample(labels, stride, (h, w))
    for n in range(2):
        for i in range(h):
            for j in range(w):
                block = labels[n, 0, i * stride : (i + 1) * stride, j * stride : (j + 1) * stride]
                values, counts = block.unique(return_counts=True)
                assert small[n, 0, i, j] == values[counts == counts.max()].max()


def test_majority_drops_the_pixels_that_pooling_drops_and_pads_with_zeros():
    labels = torch.full((1, 1, 7, 9), 3)
    assert majority_downsample(labels, 2, (3, 4)).eq(3).all()
    padded = majority_downsample(labels, 4, (2, 3))
    assert padded[0, 0].tolist() == [[3, 3, 0], [3, 3, 0]]


def test_region_means_are_means_and_differentiable():
    labels = random_labels(1, 2, 6, 5, 4)
    order, sizes = region_order(labels, 8)
    features = torch.randn(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    means = region_means(features, order, sizes)
    assert means.shape == (2, sizes.shape[1], 3)
    for n in range(2):
        for r in range(sizes.shape[1]):
            where = order[n, 0] == r + 1
            if where.any():
                assert torch.allclose(means[n, r], features[n][:, where].mean(1))
    assert torch.autograd.gradcheck(lambda f: region_means(f, order, sizes), (features,))


def test_painted_means_are_those_of_the_regions_and_zero_without_a_mask():
    labels = random_labels(2, 2, 6, 5, 4) * 1000
    features = torch.randn(2, 3, 6, 5, dtype=torch.float64, requires_grad=True)
    painted = painted_means(features, labels)
    for n in range(2):
        for label in labels[n].unique():
            where = labels[n, 0] == label
            mean = features[n][:, where].mean(1, keepdim=True) * (label != 0)
            assert torch.allclose(painted[n][:, where], mean.expand(-1, int(where.sum())))
    assert torch.autograd.gradcheck(lambda f: painted_means(f, labels), (features,))


def test_boundaries_lie_on_both_sides():
    labels = torch.tensor([[[[1, 1, 2, 2], [1, 1, 2, 2]]]])
    assert boundaries(labels)[0, 0].tolist() == [[False, True, True, False]] * 2


@pytest.mark.parametrize('dtype', [torch.uint8, torch.int32, torch.int64])
def test_an_empty_map_has_no_regions(dtype):
    order, sizes = region_order(torch.zeros(2, 1, 4, 4, dtype=dtype), 8)
    assert sizes.shape == (2, 0)
    assert order.eq(0).all()
    order, sizes = region_order(torch.zeros(2, 1, 4, 4, dtype=dtype), 8, static=True)
    assert sizes.eq(0).all()
    assert order.eq(0).all()
