from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from segment_anything import SamAutomaticMaskGenerator
from segment_anything.modeling import ImageEncoderViT, Sam

from benchmarks.extract import segment
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.inspection.overlap import segmentation_covering
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.segmenters.fast.masks import Masks
from sapd_plugin.priors.segmenters.fast.prompting import Prompter
from sapd_plugin.priors.segmenters.fast.stock import StockGenerator
from sapd_plugin.priors.segmenters.sam import SamSegmenter
from sapd_plugin.priors.store.manifest import fingerprint

STOCK = {'box_nms_thresh': 0.7, 'crop_n_layers': 0, 'min_mask_region_area': 0, 'pred_iou_thresh': 0.8}


@pytest.fixture
def quick_sam(mobile_sam: Sam, monkeypatch: pytest.MonkeyPatch) -> Sam:
    """MobileSAM behind a ViT of one layer, which encodes a photo quickly; `build_segmenter` is handed this one."""
    torch.manual_seed(0)
    mobile_sam.image_encoder = ImageEncoderViT(depth=1, embed_dim=48, num_heads=2, window_size=14).eval()
    monkeypatch.setattr('sapd_plugin.priors.segmenters.sam.build_sam', lambda state, where: mobile_sam)
    return mobile_sam


def both(sam: Sam, image: np.ndarray, **settings: Any) -> tuple[list[dict[str, Any]], Masks]:
    upstream = SamAutomaticMaskGenerator(sam, **settings).generate(image)
    return upstream, StockGenerator(Prompter(sam), points_per_batch=5, **settings)(image)


def assert_same(upstream: list[dict[str, Any]], found: Masks) -> None:
    """Same masks in the same order, but for pixels whose logits are as good as zero."""
    assert len(found.masks) == len(upstream) > 0
    for mask, iou, stability, stock in zip(*found, upstream):
        union = (mask | stock['segmentation']).sum()
        assert (mask & stock['segmentation']).sum() >= 0.99 * union
        assert iou == pytest.approx(stock['predicted_iou'], abs=1e-4)
        assert stability == pytest.approx(stock['stability_score'], abs=1e-3, nan_ok=True)


def test_stock_equals_upstream(mobile_sam: Sam, street: np.ndarray) -> None:
    assert_same(*both(mobile_sam, street, points_per_side=3, stability_score_thresh=0.85, **STOCK))


@pytest.mark.slow
def test_stock_equals_upstream_on_a_portrait_with_crops_and_cleaning(quick_sam: Sam, street: np.ndarray) -> None:
    portrait = np.ascontiguousarray(street.transpose(1, 0, 2))
    settings = {**STOCK, 'crop_n_layers': 1, 'min_mask_region_area': 100}
    assert_same(*both(quick_sam, portrait, points_per_side=3, stability_score_thresh=0.85, **settings))


def test_stock_equals_upstream_with_a_vit(small_vit: Sam, street: np.ndarray) -> None:
    """Random weights are sure of nothing: no mask is filtered but by its box."""
    settings = {**STOCK, 'pred_iou_thresh': 0.0, 'stability_score_thresh': 0.0, 'box_nms_thresh': 1.0}
    upstream, found = both(small_vit, street, points_per_side=2, **settings)
    assert len(upstream) == 12
    assert_same(upstream, found)


@pytest.mark.parametrize('preset', ['fast', 'stock'])
def test_a_vit_segments_with_either_preset(
    small_vit: Sam, street: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, preset: str
) -> None:
    """A checkpoint is told by its depth, so the one of two layers is handed in behind the names of sam_vit_b's."""
    names = {f'image_encoder.blocks.{i}.norm1.weight': torch.zeros(1) for i in range(12)}
    torch.save(names, tmp_path / 'sam.pth')
    monkeypatch.setattr('sapd_plugin.priors.segmenters.sam.build_sam', lambda state, where: small_vit)
    settings = {} if preset == 'fast' else {'points_per_side': 3}
    segmenter = build_segmenter(
        'sam_vit_b', checkpoint=tmp_path / 'sam.pth', preset=preset, pred_iou_thresh=0.0, stability_score_thresh=0.0,
        **settings,
    )  # fmt: skip
    assert segmenter.settings['segmenter'] == 'sam_vit_b'
    label_map = segmenter(street)
    assert label_map.shape == street.shape[:2]
    assert np.isfinite(label_map.regions['predicted_iou']).all()


def test_fast_covers_a_photo_and_repeats_itself(
    fast: SamSegmenter, real_street: np.ndarray, street_map: LabelMap
) -> None:
    assert fast.settings['preset'] == 'fast'
    assert street_map.coverage > 0.9
    assert len(street_map) >= 5
    parameters = fast.settings['parameters']
    assert (street_map.regions['predicted_iou'] >= parameters['pred_iou_thresh'] - 1e-3).all()
    assert (street_map.regions['stability'] >= parameters['stability_score_thresh'] - 1e-3).all()
    found = fast.masks(real_street)
    np.testing.assert_array_equal(LabelMap.from_masks(found.masks).labels, street_map.labels)
    flat = found.masks.reshape(len(found.masks), -1).astype(np.float32)
    shared, area = flat @ flat.T, flat.sum(1)
    iou = shared / (area[:, None] + area - shared)
    # Compared at a quarter of the input's resolution, hence the hundredth.
    assert iou[~np.eye(len(iou), dtype=bool)].max() <= 0.71
    assert (np.diff(found.predicted_iou) <= 0).all()


def test_fast_finds_what_stock_finds(fast: SamSegmenter, published_checkpoint: Path, calibration_data: Path) -> None:
    """A dark aeroplane in an even sky: both see the same two things."""
    plane = read_image(calibration_data / 'cbsd68/3096.png')
    stock = build_segmenter('mobile_sam', checkpoint=published_checkpoint, preset='stock', points_per_side=4)(plane)
    assert segmentation_covering(fast(plane).labels, stock.labels) > 0.9


@pytest.mark.parametrize('size', [(481, 321), (1, 60), (3, 2)])
def test_odd_sizes(checkpoint: Path, quick_sam: Sam, street: np.ndarray, size: tuple[int, int]) -> None:
    image = np.ascontiguousarray(np.resize(street.transpose(1, 0, 2), (*size, 3)))
    assert build_segmenter('mobile_sam', checkpoint=checkpoint)(image).shape == size
    stock = StockGenerator(Prompter(quick_sam), 2, 0.8, 0.85, 0.7, 0, 0, 4)
    assert stock(image).masks.shape[1:] == size


@pytest.mark.parametrize(('preset', 'settings'), [('fast', {}), ('stock', {'points_per_side': 2})])
def test_no_mask_is_a_map_without_regions(
    quick_sam: Sam, checkpoint: Path, bird: np.ndarray, preset: str, settings: dict[str, Any]
) -> None:
    segmenter = build_segmenter(
        'mobile_sam', checkpoint=checkpoint, preset=preset, stability_score_thresh=1.0, **settings
    )
    label_map = segmenter(bird)
    assert len(label_map) == 0
    assert label_map.coverage == 0.0


@pytest.mark.parametrize('dtype', ['bfloat16', pytest.param('float16', marks=pytest.mark.slow)])
def test_half_precision_gives_much_the_same_map(
    published_checkpoint: Path, real_street: np.ndarray, street_map: LabelMap, dtype: str
) -> None:
    if dtype == 'float16' and torch.__version__.startswith('2.1.'):
        with pytest.raises(SAPDError, match='dtype: found float16, which this torch cannot use'):
            build_segmenter('mobile_sam', checkpoint=published_checkpoint, dtype=dtype)
        return
    segmenter = build_segmenter('mobile_sam', checkpoint=published_checkpoint, dtype=dtype)
    half = segmenter(real_street)
    assert segmenter.settings['parameters']['dtype'] == dtype
    assert not np.array_equal(half.labels, street_map.labels)
    assert segmentation_covering(half.labels, street_map.labels) > 0.8


def test_what_changes_the_masks_changes_the_fingerprint(quick_sam: Sam, checkpoint: Path) -> None:
    def made_with(**settings: Any) -> bytes:
        return fingerprint(build_segmenter('mobile_sam', checkpoint=checkpoint, **settings).settings)

    prints = [
        made_with(),
        made_with(preset='stock'),
        made_with(dtype='bfloat16'),
        made_with(pred_iou_thresh=0.5),
        made_with(points_per_batch=8),
        made_with(preset='stock', points_per_side=16),
    ]
    assert len(set(prints)) == len(prints)
    assert made_with(preset='stock', points_per_batch=64) == made_with(preset='stock')


@pytest.mark.slow
@pytest.mark.parametrize('preset', ['fast', 'stock'])
def test_memory_is_bounded_at_720p(checkpoint: Path, street: np.ndarray, tmp_path: Path, preset: str) -> None:
    large = cv2.resize(street, (1280, 720), interpolation=cv2.INTER_CUBIC)
    photo = tmp_path / 'large.png'
    cv2.imwrite(str(photo), large[..., ::-1])
    points = 6
    [found], megabytes = segment(preset, checkpoint, points, [photo], {'OMP_NUM_THREADS': '1'})
    assert found.masks.shape[1:] == (720, 1280)
    # The stock grid of 32 points would hold more candidates, as bits.
    more = 3 * (32**2 - points**2) * 720 * 1280 / 8 / 2**20 if preset == 'stock' else 0
    assert megabytes + more < 1500
