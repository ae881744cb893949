from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.segmenters import SEGMENTERS, build_segmenter

HERE = importlib.util.find_spec('sam2') is not None
needs_sam2 = pytest.mark.skipif(not HERE, reason='the package sam2 is not installed')


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """A checkpoint of sam2_hiera_tiny with random weights."""
    import torch
    from sam2.build_sam import build_sam2

    torch.manual_seed(0)
    path = tmp_path / 'sam2_hiera_tiny.pt'
    torch.save({'model': build_sam2('configs/sam2/sam2_hiera_t.yaml', device='cpu').state_dict()}, path)
    return path


def test_all_variants_are_registered() -> None:
    names = {
        f'{family}_hiera_{size}' for family in ('sam2', 'sam2.1') for size in ('tiny', 'small', 'base_plus', 'large')
    }
    assert names <= set(SEGMENTERS)


@pytest.mark.skipif(HERE, reason='the package sam2 is installed')
def test_without_the_package_it_says_what_to_install() -> None:
    with pytest.raises(SAPDError, match="segmenter 'sam2_hiera_tiny': found no package sam2, .* pip install sam2"):
        build_segmenter('sam2_hiera_tiny')


@needs_sam2
def test_it_segments(tiny: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 256, (60, 90, 3), dtype=np.uint8)
    segmenter = build_segmenter(
        'sam2_hiera_tiny', checkpoint=tiny, points_per_side=2, pred_iou_thresh=0.0, stability_score_thresh=0.0
    )
    label_map = segmenter(photo)
    assert label_map.shape == (60, 90)
    assert len(label_map) >= 1
    np.testing.assert_array_equal(segmenter(photo).labels, label_map.labels)
    assert segmenter.settings['segmenter'] == 'sam2_hiera_tiny'
    assert len(segmenter.settings['checkpoint_sha256']) == 64


@needs_sam2
def test_a_missing_or_other_checkpoint_is_refused(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv('SAPD_SAM_CHECKPOINT', raising=False)
    with pytest.raises(SAPDError, match=r'found no checkpoint, .*: sam2_hiera_tiny\.pt'):
        build_segmenter('sam2_hiera_tiny')
    with pytest.raises(SAPDError, match=r'sam2_hiera_tiny\.pt: does not fit sam2_hiera_small'):
        build_segmenter('sam2_hiera_small', checkpoint=tiny)
