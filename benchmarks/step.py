"""The plugin's own share of a training step: SAPD step against the sum of the parts that no plugin could save."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
from torch.nn import functional as F

from benchmarks.fixtures import BATCH, options, photo_pairs, quiet_build, sapd_options
from sapd_plugin.core import VGG19Features, find_vgg
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.timing import Row, medians_ms


def run(repeats: int = 9, vgg: Path | None = None) -> list[Row]:
    """Medians over ``repeats`` of each part, taken in turn on one batch of real patches.

    Raises:
        SAPDError: no VGG-19 weights.
    """
    vgg = find_vgg(vgg)
    if vgg is None:
        raise SAPDError('benchmark step: needs VGG-19 weights, set SAPD_VGG_CHECKPOINT.')
    from basicsr.data import build_dataset

    with tempfile.TemporaryDirectory() as folder:
        pairs = photo_pairs(Path(folder))
        opt = sapd_options(pairs, vgg)
        dataset = build_dataset(opt['datasets']['train'])
        batch = torch.utils.data.default_collate([dataset[k % len(dataset)] for k in range(BATCH)])
        stock, sapd = quiet_build(options(pairs)), quiet_build(opt)
    second = quiet_build(options(pairs))
    analyser = VGG19Features(weights=vgg)

    def stock_step() -> None:
        stock.feed_data(batch)
        stock.optimize_parameters(1)

    def second_network() -> None:
        # Another instance of the stock model: forward, L1, backward, Adam.
        second.feed_data(batch)
        second.optimize_parameters(1)

    def perceptual_passes() -> None:
        image = batch['gt'].clone().requires_grad_()
        restored = analyser(image)['relu3_1']
        with torch.no_grad():
            refined = analyser(batch['gt'])['relu3_1']
        F.l1_loss(restored, refined).backward()

    def sapd_step() -> None:
        sapd.feed_data(batch)
        sapd.optimize_parameters(1)

    parts = medians_ms([stock_step, second_network, perceptual_passes, sapd_step], repeats)
    total = sum(parts[:3])
    names = ('stock step', "second network's step", 'perceptual passes', 'SAPD step')
    return [Row(name, value, 'ms') for name, value in zip(names, parts)] + [
        Row("plugin's own overhead (bar: < 5)", 100 * (parts[3] / total - 1), '%')
    ]
