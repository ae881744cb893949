"""The plugin's own share of an MMagic training step, measured as `benchmarks.step` does for BasicSR."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import skimage.data
import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from torch.nn import functional as F

import sapd_plugin.mmagic  # noqa: F401  (registers the plugin)
from sapd_plugin.core import VGG19Features, find_vgg
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.timing import Row, medians_ms
from sapd_plugin.priors.segmenters import build_segmenter

PATCH, BATCH = 64, 4
EDSR = {
    'type': 'EDSRNet',
    'in_channels': 3,
    'out_channels': 3,
    'mid_channels': 64,
    'num_blocks': 16,
    'upscale_factor': 1,
}
STOCK: dict[str, Any] = {
    'type': 'BaseEditModel',
    'generator': EDSR,
    'pixel_loss': {'type': 'L1Loss'},
    'data_preprocessor': {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [255.0] * 3},
}


def run(repeats: int = 9, vgg: Path | None = None) -> list[Row]:
    """Medians over ``repeats`` of each part, taken in turn on one batch of real patches.

    Raises:
        SAPDError: no VGG-19 weights.
    """
    vgg = find_vgg(vgg)
    if vgg is None:
        raise SAPDError('benchmark mmagic_step: needs VGG-19 weights, set SAPD_VGG_CHECKPOINT.')
    init_default_scope('mmagic')
    MMLogger.get_instance('benchmark', log_level='ERROR')  # MMEngine lists every parameter that it initialises
    losses = {'spd_loss': {'type': 'SPDLoss'}, 'sgr_loss': {'type': 'SGRLoss', 'weights': str(vgg)}}
    stock, second = (MODELS.build(STOCK) for _ in range(2))
    sapd = MODELS.build({**STOCK, 'type': 'SAPDModel', **losses})
    sapd.prepare_training(None, torch.device('cpu'))
    sapd.in_training.iteration = 1
    wrappers = {id(m): OptimWrapper(torch.optim.Adam(m.parameters(), lr=1e-4)) for m in (stock, second, sapd)}
    analyser = VGG19Features(weights=vgg)
    batch = _batch()
    target = torch.stack([sample.gt_img for sample in batch['data_samples']]).float() / 255

    def step(model: Any) -> None:
        samples = [sample.clone() for sample in batch['data_samples']]
        model.train_step({'inputs': batch['inputs'], 'data_samples': samples}, wrappers[id(model)])

    def perceptual_passes() -> None:
        restored = analyser(target.clone().requires_grad_())['relu3_1']
        with torch.no_grad():
            refined = analyser(target)['relu3_1']
        F.l1_loss(restored, refined).backward()

    parts = medians_ms([lambda: step(stock), lambda: step(second), perceptual_passes, lambda: step(sapd)], repeats)
    names = ('stock step', "second network's step", 'perceptual passes', 'SAPD step')
    return [Row(name, value, 'ms') for name, value in zip(names, parts)] + [
        Row("plugin's own overhead (bar: < 5)", 100 * (parts[3] / sum(parts[:3]) - 1), '%')
    ]


def _batch() -> dict[str, list[Any]]:
    """Patches of a photo and their masks, as MMagic's pipeline hands them on."""
    photo = skimage.data.coffee()
    labels = build_segmenter('felzenszwalb')(photo).labels
    inputs, samples = [], []
    for number in range(BATCH):
        at = slice(100, 100 + PATCH), slice(80 * number, 80 * number + PATCH)
        clean = torch.from_numpy(photo[at].copy()).permute(2, 0, 1)
        sample = DataSample()
        sample.set_tensor_data({'gt_img': clean, 'sam_mask': torch.from_numpy(labels[at].astype('int32'))[None]})
        samples.append(sample)
        inputs.append((clean.float() + 25 * torch.randn(clean.shape)).clamp(0, 255).byte())
    return {'inputs': inputs, 'data_samples': samples}
