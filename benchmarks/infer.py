"""Inference of a SAPD student against the stock model: the same network, so every ratio is 1."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch

from benchmarks.fixtures import Row, options, photo_pairs, quiet_build
from sapd_plugin.evaluation.cost import compare
from sapd_plugin.evaluation.timing import medians_ms


def run(repeats: int = 9) -> list[Row]:
    """Return medians of the two models' test() on one photo, taken in turn, and the cost of their networks."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = photo_pairs(Path(folder))
        models = [quiet_build(options(pairs, False, model_type=kind)) for kind in ('SRModel', 'SAPDModel')]
    photo = {'lq': torch.rand(1, 3, 160, 240)}
    for model in models:
        model.feed_data(photo)
    stock, sapd = medians_ms([model.test for model in models], repeats)
    networks = {name: model.net_g for name, model in zip(('stock', 'sapd'), models)}
    costs = compare(networks, photo['lq'].shape, repeats=1, memory=False)
    same = float(torch.equal(*(model.output for model in models)))
    return [
        Row('stock', stock, 'ms'),
        Row('SAPD student', sapd, 'ms'),
        Row('ratio SAPD / stock (bar: 1.00)', sapd / stock, 'x'),
        Row('parameters SAPD / stock', costs['sapd'].parameters / costs['stock'].parameters, 'x'),
        Row('MACs SAPD / stock', costs['sapd'].macs / costs['stock'].macs, 'x'),
        Row('equal outputs with equal weights (1 = yes)', same, ''),
    ]
