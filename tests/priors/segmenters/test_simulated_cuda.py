"""SAM's generators on the simulated device: no operation mixes devices, and the number of waits has a bound."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sapd_plugin.core import OnlineMasks
from sapd_plugin.priors.segmenters import Segmenter, build_segmenter
from sapd_plugin.priors.segmenters.fast import adaptive
from tests.simulated_cuda import needs_simulation, simulated_cuda

pytestmark = needs_simulation

SETTINGS: dict[str, dict[str, Any]] = {'fast': {}, 'stock': {'points_per_side': 2}}
# Of one small photo whose size has been seen before.
WAITS = {'fast': 18, 'stock': 17}


@pytest.fixture(autouse=True)
def few_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adaptive, 'LEVELS', (2,))
    monkeypatch.setattr('torch.cuda.is_available', lambda: True)


@pytest.fixture
def photo(street: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(street[100:196, 100:228])


def build(preset: str, checkpoint: Path, device: str) -> Segmenter:
    return build_segmenter('mobile_sam', checkpoint=checkpoint, device=device, preset=preset, **SETTINGS[preset])


@pytest.mark.parametrize('preset', SETTINGS)
def test_a_preset_gives_the_same_masks_and_waits_a_bounded_number_of_times(
    preset: str, checkpoint: Path, photo: np.ndarray
) -> None:
    expected = build(preset, checkpoint, 'cpu')(photo)
    with simulated_cuda() as device:
        segmenter = build(preset, checkpoint, 'cuda')
        segmenter(photo)
        device.reset()
        found = segmenter(photo)
    assert found.coverage > 0.5
    np.testing.assert_array_equal(found.labels, expected.labels)
    assert sum(device.waits.values()) <= WAITS[preset], device.listing()
    assert not [place for _, place in device.waits if 'geometry' in place], device.listing()


def test_online_masks_come_from_the_device(checkpoint: Path, photo: np.ndarray) -> None:
    patches = torch.from_numpy(photo).permute(2, 0, 1)[None] / 255
    with simulated_cuda():
        segmenter = build('fast', checkpoint, 'cuda')
        masks = OnlineMasks(lambda rgb: segmenter(rgb).labels)(patches.to('cuda'))
        assert masks.is_cuda
        np.testing.assert_array_equal(masks.cpu().numpy()[0, 0], segmenter(photo).labels)


def test_a_gpu_gets_larger_batches_where_they_do_not_change_the_masks(checkpoint: Path) -> None:
    with simulated_cuda():
        sizes = {
            (preset, device): build(preset, checkpoint, device)._generate.points_per_batch
            for preset in SETTINGS
            for device in ('cpu', 'cuda:0')
        }
    assert sizes == {('fast', 'cpu'): 16, ('fast', 'cuda:0'): 16, ('stock', 'cpu'): 16, ('stock', 'cuda:0'): 64}
