"""What the benchmarks of the BasicSR adapter share: options, photos with masks, a batch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import skimage.data
import torch

from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.store import MaskStoreWriter

PATCH, BATCH = 64, 4


def photographs(size: tuple[int, int] = (321, 481)) -> dict[str, np.ndarray]:
    """Return four photographs that scikit-image ships, RGB uint8 of ``size`` (H, W), by name."""
    photos = {
        'astronaut': skimage.data.astronaut(),
        'coffee': skimage.data.coffee(),
        'motorcycle': skimage.data.stereo_motorcycle()[0],
        'rocket': skimage.data.rocket(),
    }
    return {name: cv2.resize(photo, size[::-1], interpolation=cv2.INTER_AREA) for name, photo in photos.items()}


def photo_pairs(folder: Path, size: tuple[int, int] = (321, 481)) -> Path:
    """Write scikit-image photos of one size to folder/{clean,degraded}, and felzenszwalb masks to folder/masks."""
    segmenter = build_segmenter('felzenszwalb')
    with MaskStoreWriter(folder / 'masks', segmenter.settings) as writer:
        for name, clean in photographs(size).items():
            noise = np.random.default_rng(0).normal(0, 25, clean.shape)
            for kind, image in (('clean', clean), ('degraded', (clean + noise).clip(0, 255).astype(np.uint8))):
                (folder / kind).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(folder / kind / f'{name}.png'), image[..., ::-1])
            writer.put(name, segmenter(clean))
    return folder


def options(folder: Path, is_train: bool = True, **changes: Any) -> dict[str, Any]:
    """BasicSR options as parse_options leaves them: EDSR-M at scale 1 on the pairs of a folder, CPU."""
    dataset = {
        'name': 'photos',
        'type': 'PairedImageDataset',
        'dataroot_gt': str(folder / 'clean'),
        'dataroot_lq': str(folder / 'degraded'),
        'io_backend': {'type': 'disk'},
        'gt_size': PATCH,
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
        'is_train': is_train,
        'datasets': {'train': dataset},
        'network_g': edsr,
        'path': {},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-4},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [10**6], 'gamma': 0.5},
            'pixel_opt': {'type': 'L1Loss'},
        },
    }
    return {**opt, **copy.deepcopy(changes)}


def sapd_options(folder: Path, vgg: Path, is_train: bool = True) -> dict[str, Any]:
    """The same with SAM priors."""
    opt = options(folder, is_train, model_type='SAPDModel', network_spf={'type': 'SPF'})
    opt['datasets']['train'].update(type='PairedImageMaskDataset', mask_store=str(folder / 'masks'))
    opt['train']['spd_opt'] = {'type': 'SPDLoss'}
    opt['train']['sgr_opt'] = {'type': 'SGRLoss', 'weights': str(vgg)}
    return opt


def quiet_build(opt: dict[str, Any]) -> Any:
    """Build a dataset-less BasicSR model without its log of the whole network."""
    import logging

    from basicsr.models import build_model

    logging.getLogger('basicsr').setLevel('ERROR')
    torch.manual_seed(0)
    return build_model(opt)
