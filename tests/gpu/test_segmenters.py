"""SAM on a GPU cuts much the same masks as on the CPU."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sapd_plugin.priors.inspection.overlap import segmentation_covering
from sapd_plugin.priors.segmenters import build_segmenter
from tests.photos import photographs

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize(('preset', 'settings'), [('fast', {}), ('stock', {'points_per_side': 8})])
def test_masks_are_much_the_same(device: torch.device, published_checkpoint: Path, preset: str, settings: dict) -> None:
    photo = photographs()['001']
    on_cpu, on_gpu = (
        build_segmenter('mobile_sam', checkpoint=published_checkpoint, device=where, preset=preset, **settings)(photo)
        for where in ('cpu', str(device))
    )
    assert segmentation_covering(on_gpu.labels, on_cpu.labels) > 0.95
