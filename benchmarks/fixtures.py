"""Fixtures that benchmarks share: a table, photos with masks, options, comparisons of training steps and of loaders."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.core import VGG19Features
from sapd_plugin.datasets.sample_photos import embedded_photos
from sapd_plugin.evaluation.cost import medians_ms
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.store import MaskStoreWriter
from sapd_plugin.priors.store.digests import ImageDigests, digest_pixels

PATCH, BATCH = 64, 4


class Row(NamedTuple):
    """One line of a benchmark's table."""

    what: str
    value: float
    unit: str


def photographs(size: tuple[int, int] = (321, 481)) -> dict[str, np.ndarray]:
    """Return the photographs that scikit-image ships, RGB uint8 of ``size`` (H, W), by name."""
    photos = {name: photo for phase in embedded_photos().values() for name, photo in phase.items()}
    return {name: cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA) for name, photo in photos.items()}


def photo_pairs(folder: Path) -> Path:
    """Write photographs to folder/{clean,degraded}, and felzenszwalb masks to folder/masks."""
    segmenter = build_segmenter('felzenszwalb')
    with MaskStoreWriter(folder / 'masks', segmenter.settings) as writer:
        for name, clean in photographs().items():
            noise = np.random.default_rng(0).normal(0, 25, clean.shape)
            for kind, image in (('clean', clean), ('degraded', (clean + noise).clip(0, 255).astype(np.uint8))):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / kind / f'{name}.png'), image[..., ::-1])
            writer.put(name, segmenter(clean).with_colors(clean), ImageDigests(digest_pixels(clean)))
    return folder


def options(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return BasicSR options as parse_options returns them: EDSR-M at scale 1 on the pairs of a folder, on the CPU."""
    dataset = {
        'name': 'photos',
        'type': 'PairedImageDataset',
        'dataroot_gt': str(folder / 'clean'),
        'dataroot_lq': str(folder / 'degraded'),
        'io_backend': {'type': 'disk'},
        'gt_size': PATCH,
        'batch_size_per_gpu': BATCH,
        'num_worker_per_gpu': 0,
        'use_hflip': True,
        'use_rot': True,
        'scale': 1,
        'phase': 'train',
    }
    edsr = {'type': 'EDSR', 'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 64, 'num_block': 16, 'upscale': 1}
    opt = {
        'name': 'benchmark',
        'model_type': 'SRModel',
        'scale': 1,
        'num_gpu': 0,
        'manual_seed': 0,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'is_train': True,
        'datasets': {'train': dataset},
        'network_g': edsr,
        'path': {},
        'logger': {'print_freq': 100, 'save_checkpoint_freq': 100, 'use_tb_logger': False},
        'train': {
            'total_iter': 1000,
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [10**6], 'gamma': 0.5},
            'pixel_opt': {'type': 'L1Loss'},
        },
    }
    return {**opt, **changes}


def quiet_build(opt: dict[str, Any]) -> Any:
    """Build a BasicSR model without its log of the complete network."""
    from basicsr.models import build_model

    logging.getLogger('basicsr').setLevel('ERROR')
    torch.manual_seed(0)
    return build_model(opt)


def compare_steps(step: Callable[[Any], object], models: Sequence[Any], target: Tensor, repeats: int) -> list[Row]:
    """Compare a SAPD step with the sum of the parts that any plugin needs, in processor time.

    Args:
        step: trains a model for one step.
        models: the stock model; another one that stands for SPF: forward, L1, backward, Adam; one with SAM priors, but
            no masks in SPF (``fusion: none``); one with the default fusion. The branch and SGR act in each step.
        target: the batch that VGG-19's perceptual passes are measured on, (N,3,H,W) in 0..1.
        repeats: number of runs per median; the parts take turns.

    Raises:
        SAPDError: there are no VGG-19 weights.
    """
    analyser = VGG19Features()

    def perceptual_passes() -> None:
        restored = analyser(target.clone().requires_grad_())['relu3_1']
        with torch.no_grad():
            refined = analyser(target)['relu3_1']
        F.l1_loss(restored, refined).backward()

    stock, second, cascade, fused = (partial(step, model) for model in models)
    parts = medians_ms([stock, second, perceptual_passes, cascade, fused], repeats, clock=time.process_time)
    names = ('stock step', "second network's step", 'perceptual passes', 'SAPD step, no fusion', 'SAPD step')
    return [Row(name, value, 'ms') for name, value in zip(names, parts)] + [
        Row("plugin's own overhead (bar: < 4)", 100 * (parts[3] / sum(parts[:3]) - 1), '%'),
        Row("the fusion's layers, of the second network's step", 100 * (parts[4] - parts[3]) / parts[1], '%'),
    ]


def compare_loaders(
    load: Callable[[Any], object], datasets: Sequence[Any], repeats: int, prefix: str = ''
) -> list[Row]:
    """Compare ``load(dataset)`` of a dataset without masks and one with masks, in turn."""
    stock, masks = medians_ms([partial(load, dataset) for dataset in datasets], repeats)
    return [
        Row(f'{prefix}without masks', stock, 'ms'),
        Row(f'{prefix}with masks', masks, 'ms'),
        Row(f'{prefix}masks cost (bar: <= 5)', 100 * (masks / stock - 1), '%'),
    ]
