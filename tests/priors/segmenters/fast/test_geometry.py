from __future__ import annotations

import pytest
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.amg import batched_mask_to_box, calculate_stability_score

from sapd_plugin.priors.segmenters.fast.adaptive import spread_grid
from sapd_plugin.priors.segmenters.fast.geometry import Geometry
from sapd_plugin.priors.segmenters.fast.masks import boxes_of, mask_nms, stability_score

SIZES = [(321, 481), (481, 321), (64, 64), (1, 50), (50, 1), (720, 1280), (670, 1000), (1500, 1100)]


@pytest.mark.parametrize('size', SIZES)
def test_enlarging_equals_the_stock_post_processing(small_vit: Sam, size: tuple[int, int]) -> None:
    geometry = Geometry(*size)
    logits = torch.randn(2, 256, 256)
    stock = small_vit.postprocess_masks(logits[None], geometry.input_size, size)[0]
    rows, columns = geometry.logits_size
    torch.testing.assert_close(geometry.enlarge(logits[:, :rows, :columns]), stock, rtol=0, atol=1e-5)


@pytest.mark.parametrize('size', SIZES)
def test_only_the_tokens_that_masks_depend_on_are_kept(size: tuple[int, int]) -> None:
    """The last row and column of tokens matters, unless the photo fills the input along that axis."""
    geometry = Geometry(*size)
    logits = torch.zeros(1, *geometry.logits_size)
    changed = logits.clone()
    changed[:, -4:] = changed[:, :, -4:] = 1
    difference = geometry.enlarge(changed) - geometry.enlarge(logits)
    assert difference[0, -1, :].abs().max() > 0
    assert difference[0, :, -1].abs().max() > 0
    inside = geometry.inside(logits).shape[1:]
    assert all(1 <= a <= b <= 256 for a, b in zip(inside, geometry.logits_size))


def test_scores_and_boxes_are_those_of_the_stock_generator() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 20, 31) * 2
    logits[4] = -5
    logits[5, :-1] = -5
    for threshold in (0.0, 0.5):
        expected = calculate_stability_score(logits, threshold, 1.0)
        torch.testing.assert_close(stability_score(logits, threshold), expected, equal_nan=True)
        torch.testing.assert_close(boxes_of(logits, threshold), batched_mask_to_box(logits > threshold))
    assert boxes_of(logits, 0)[4].tolist() == [0, 0, 0, 0]


def test_mask_nms_keeps_the_better_of_two_that_are_nearly_the_same() -> None:
    masks = torch.zeros(4, 100, dtype=torch.bool)
    masks[0, :10] = masks[1, :9] = masks[2, 2:10] = masks[3, :5] = True
    assert mask_nms(masks, torch.tensor([0.8, 0.9, 0.7, 0.6]), 0.7) == [1, 2, 3]
    assert mask_nms(masks, torch.tensor([0.9, 0.9, 0.7, 0.6]), 0.7) == [0, 3]
    assert mask_nms(masks, torch.tensor([0.9, 0.9, 0.7, 0.6]), 1.0) == [0, 1, 2, 3]
    assert mask_nms(masks[:0], torch.zeros(0), 0.7) == []


@pytest.mark.parametrize('size', SIZES)
def test_the_grid_lies_on_the_photo_and_is_spread(size: tuple[int, int]) -> None:
    points = spread_grid(24, size)
    assert len(points) == len({tuple(point) for point in points})
    assert (points > 0).all()
    assert (points < size[::-1]).all()
    longer = points[:16, 1 if size[0] > size[1] else 0]
    assert max(size) / 2 < longer.max() - longer.min()
