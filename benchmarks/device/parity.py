"""One step on the device against the same step on the CPU, in float32: gradients, loss of precision, region order."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.fixtures import Row
from benchmarks.training import TINY, Batch, Setting, Training, builder, patches
from sapd_plugin.core.regions import region_order

# Fusions of SPF, with all regions of the batch in use.
FUSIONS: dict[str, Mapping[str, Any]] = {
    'modulate': {'mask_dropout': 0.0},
    'map': {'fusion': 'map', 'mask_dropout': 0.0},
    'attend': {'fusion': 'attend', 'mask_dropout': 0.0},
    'image': {'fusion': 'image', 'mask_dropout': 0.0},
}
# Every term of the losses takes part.
LOSSES: dict[str, Mapping[str, Any]] = {
    'spd': {'loss_weight': 1.0, 'gate': 'region'},
    'sgr': {'every': 1, 'loss_weight': 1.0, 'node_weight': 0.1, 'pixel_weight': 0.1},
    'step': {'every': 1},
}


def gradients(batch: Batch, spf: Mapping[str, Any], vgg: Path) -> dict[str, Tensor]:
    """Return the gradients of student and SPF in one step of a tiny NAFNet, float64 on the CPU."""
    [(network, settings)] = TINY.values()
    training = Training(builder(network, settings), batch, Setting(spf, **LOSSES), vgg)
    training.gradients(iteration=1)
    named = {'student': training.student, 'SPF': training.branch}
    return {
        name: torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]).cpu().double()
        for name, module in named.items()
    }


def difference(found: Tensor, expected: Tensor) -> float:
    """Return the norm of the difference, relative to that of ``expected``."""
    return float(torch.linalg.vector_norm(found - expected) / torch.linalg.vector_norm(expected))


def run(device: torch.device, vgg: Path) -> list[Row]:
    """Compare each fusion of SPF; TF32 is off for this comparison."""
    batch, rows = patches(2, 64), []
    matmul, convolution = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        for name, spf in FUSIONS.items():
            expected, found = (gradients(each, spf, vgg) for each in (batch, batch.to(device)))
            rows += [
                Row(f'fusion {name}: gradients of {key}, relative difference (bar: < 1e-3)', value, '')
                for key, value in ((key, difference(found[key], expected[key])) for key in expected)
            ]
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = matmul, convolution
    orders = [region_order(mask, 16)[0].cpu() for mask in (batch.mask, batch.mask.to(device))]
    return [*rows, Row('pixels with a different region number (bar: 0)', float((orders[0] != orders[1]).sum()), '')]
