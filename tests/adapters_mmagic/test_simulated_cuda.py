"""An MMagic step on the simulated device: no operation mixes devices, and few more than in the stock step wait for it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.optim import OptimWrapper

from tests.adapters_mmagic.recipes import sapd_config, stock_config
from tests.simulated_cuda import CUDA, SimulatedCuda, SimulatedTensor, needs_simulation, simulated_cuda

pytestmark = needs_simulation

# Beyond those of the stock step.
WAITS = 1


def batch() -> dict[str, list[Any]]:
    generator = torch.Generator().manual_seed(0)
    data: dict[str, list[Any]] = {'inputs': [], 'data_samples': []}
    for _ in range(2):
        sample = DataSample(metainfo={'img_channel_order': 'rgb', 'gt_channel_order': 'rgb'})
        mask = torch.randint(0, 9, (1, 6, 6), generator=generator, dtype=torch.int32)
        degraded, gt = (torch.randint(0, 256, (3, 48, 48), generator=generator).byte() for _ in range(2))
        sample.set_tensor_data({'gt_img': gt, 'sam_mask': mask.repeat_interleave(8, 1).repeat_interleave(8, 2)})
        data['inputs'].append(degraded)
        data['data_samples'].append(sample)
    return data


def step(config: dict[str, Any]) -> SimulatedCuda:
    """Train for two steps; return the device with what the second one cost."""
    with simulated_cuda() as device:
        model = MODELS.build(config['model']).to(CUDA)
        if config['model']['type'] == 'SAPDModel':
            model.prepare_training(None, CUDA)
        wrapper = OptimWrapper(torch.optim.AdamW(model.parameters()))
        for iteration in (1, 2):
            device.reset()
            if config['model']['type'] == 'SAPDModel':
                model.in_training.iteration = iteration
            log = model.train_step(batch(), wrapper)
            assert all(math.isfinite(value) for value in log.values())  # MMEngine logs them
        assert all(isinstance(p, SimulatedTensor) for p in model.generator.parameters())
    return device


def test_a_step_waits_little_more_than_the_stock_step(pairs: Path, store: Path, vgg_weights: Path) -> None:
    stock, sapd = step(stock_config(pairs)), step(sapd_config(pairs, store, vgg_weights))
    assert sum(sapd.waits.values()) <= sum(stock.waits.values()) + WAITS, sapd.listing()
