"""The plugin's own share of an MMagic training step."""

from __future__ import annotations

from typing import Any

import torch
from mmagic.registry import MODELS
from mmagic.structures import DataSample
from mmengine.logging import MMLogger
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope

from benchmarks.fixtures import BATCH, PATCH, Row, compare_steps, photographs
from sapd_plugin.priors.segmenters import build_segmenter

STOCK: dict[str, Any] = {
    'type': 'BaseEditModel',
    'generator': {
        'type': 'EDSRNet',
        'in_channels': 3,
        'out_channels': 3,
        'mid_channels': 64,
        'num_blocks': 16,
        'upscale_factor': 1,
    },
    'pixel_loss': {'type': 'L1Loss'},
    'data_preprocessor': {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [255.0] * 3},
}


def run(repeats: int = 9) -> list[Row]:
    """Measure on one batch of real patches, see `compare_steps`."""
    branch = {'spd_loss': {'type': 'SPDLoss'}, 'sgr_loss': {'type': 'SGRLoss', 'every': 1}, 'every': 1}
    init_default_scope('mmagic')
    MMLogger.get_instance('benchmark', log_level='ERROR')  # MMEngine lists every parameter that it initialises
    stock, second = (MODELS.build(STOCK) for _ in range(2))
    sapd = []
    for fusion in ('none', 'modulate'):
        spf = {'type': 'SPF', 'fusion': fusion}
        sapd.append(MODELS.build({**STOCK, 'type': 'SAPDModel', 'network_spf': spf, **branch}))
        sapd[-1].prepare_training(None, torch.device('cpu'))
        sapd[-1].in_training.iteration = 1
    wrappers = {id(m): OptimWrapper(torch.optim.Adam(m.parameters(), lr=1e-4)) for m in (stock, second, *sapd)}
    inputs, samples = _batch()

    def step(model: Any) -> None:
        batch = {'inputs': inputs, 'data_samples': [sample.clone() for sample in samples]}
        model.train_step(batch, wrappers[id(model)])

    target = torch.stack([sample.gt_img for sample in samples]).float() / 255
    return compare_steps(step, (stock, second, *sapd), target, repeats)


def _batch() -> tuple[list[torch.Tensor], list[DataSample]]:
    """Return patches of a photo with noise, and the samples of their targets and masks, as MMagic's pipeline does."""
    photo = photographs()['coffee']
    labels = build_segmenter('felzenszwalb')(photo).labels
    inputs, samples = [], []
    for number in range(BATCH):
        at = slice(100, 100 + PATCH), slice(80 * number, 80 * number + PATCH)
        clean = torch.from_numpy(photo[at].copy()).permute(2, 0, 1)
        sample = DataSample()
        sample.set_tensor_data({'gt_img': clean, 'sam_mask': torch.from_numpy(labels[at].astype('int32'))[None]})
        samples.append(sample)
        inputs.append((clean.float() + 25 * torch.randn(clean.shape)).clamp(0, 255).byte())
    return inputs, samples
