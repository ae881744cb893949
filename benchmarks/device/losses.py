"""SGR on its own: VGG-19's passes and the relations of regions."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from benchmarks.fixtures import Row
from benchmarks.training import patches
from sapd_plugin.core import SGRLoss
from sapd_plugin.core.sgr import sgr_loss
from sapd_plugin.evaluation.cost import medians_ms


def run(device: torch.device, vgg: Path, tiny: bool, repeats: int = 10) -> list[Row]:
    """Measure forward and backward of SGR on eight patches of 256x256, and of its relations alone."""
    count, side = (2, 64) if tiny else (8, 256)
    batch = patches(count, side).to(device)
    images = batch.degraded.clone().requires_grad_()
    features = torch.rand(count, 256, side // 4, side // 4, device=device, requires_grad=True)
    target, labels = features.detach().flip(0), batch.mask[..., ::4, ::4]
    cases = {
        'SGR, relu3_1': SGRLoss(weights=vgg).to(device),
        'SGR, relu3_1, halved images': SGRLoss(weights=vgg, image_scale=0.5).to(device),
    }

    def whole(loss: SGRLoss) -> None:
        loss(images, batch.gt, batch.mask).backward()
        _wait(device)

    def relations() -> None:
        sgr_loss(features, target, labels).backward()
        _wait(device)

    times = medians_ms([*(partial(whole, loss) for loss in cases.values()), relations], repeats)
    return [
        Row(f'{name}, {count} x {side}x{side}', time, 'ms') for name, time in zip([*cases, 'relations alone'], times)
    ]


def _wait(device: torch.device) -> None:
    if device.type == 'cuda':
        torch.cuda.synchronize(device)
