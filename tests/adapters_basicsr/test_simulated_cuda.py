"""A BasicSR step on the simulated device: no operation mixes devices, and few more than in the stock step wait for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.models import build_model

import sapd_plugin.basicsr  # noqa: F401  (the import registers)
from tests.adapters_basicsr.recipes import parsed, sapd_options, stock_options
from tests.simulated_cuda import SimulatedCuda, SimulatedTensor, needs_simulation, simulated_cuda

pytestmark = needs_simulation

# Beyond those of the stock step.
WAITS = 1


def batch() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 9, (2, 1, 6, 6), generator=generator, dtype=torch.int32)
    images = {name: torch.rand(2, 3, 48, 48, generator=generator) for name in ('lq', 'gt')}
    return {**images, 'mask': mask.repeat_interleave(8, 2).repeat_interleave(8, 3)}


def step(options: dict[str, Any], folder: Path, prefetched: bool) -> SimulatedCuda:
    """Train for two steps; return the device with what the second one cost."""
    options = parsed({**options, 'num_gpu': 1}, folder)
    with simulated_cuda() as device:
        model = build_model(options)
        for iteration in (1, 2):
            data = {name: image.to('cuda') if prefetched else image for name, image in batch().items()}
            device.reset()
            model.update_learning_rate(iteration, -1)
            model.feed_data(data)
            model.optimize_parameters(iteration)
        assert all(isinstance(p.grad, SimulatedTensor) for p in model.net_g.parameters())
    return device


@pytest.mark.parametrize('where', ['prefetched', 'from the CPU'])
def test_a_step_waits_little_more_than_the_stock_step(
    pairs: Path, store: Path, vgg_weights: Path, tmp_path: Path, where: str
) -> None:
    prefetched = where == 'prefetched'
    stock = step(stock_options(pairs), tmp_path, prefetched)
    sapd = step(sapd_options(pairs, store, vgg_weights), tmp_path, prefetched)
    assert sum(sapd.waits.values()) <= sum(stock.waits.values()) + WAITS, sapd.listing()
