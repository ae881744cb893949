"""Clean images and white Gaussian noise: BasicSR's data set for denoising."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from basicsr.data.transforms import augment, paired_random_crop
from basicsr.utils.registry import DATASET_REGISTRY
from torch import Tensor

from sapd_plugin.basicsr.dataset import WHERE, PairedImageMaskDataset, unit_range
from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.metrics import canonical_color, gray
from sapd_plugin.noise import NoiseSource


@DATASET_REGISTRY.register()
class GaussianNoiseDataset(PairedImageMaskDataset):
    """Clean images with noise added after crop and flips; with masks if there is a ``mask_store``.

    A stock run and a SAPD run draw the same patches and the same noise: the stock run's config lacks ``mask_store``.

    Args:
        opt: the options of PairedImageMaskDataset without ``dataroot_lq``, ``mean`` and ``std``, and
            sigma: standard deviation on the 0-255 scale; for training also [lowest, highest], drawn per image.
            color: rgb (default), or gray: round(0.2989 R + 0.5870 G + 0.1140 B).
            clip: to the range of 8-bit images; default false.
            seed: seed of the noise of each validation or test image; default 0. Not for training, whose noise comes
                from the worker's torch stream.
            mask_store: optional here.

    Raises:
        SAPDError: a missing or invalid setting, and as PairedImageMaskDataset.
    """

    store_is_optional = True

    def __init__(self, opt: dict[str, Any]) -> None:
        where = WHERE if opt['phase'] == 'train' else f'datasets.{opt["phase"]}'
        _check(where, opt)
        super().__init__({**opt, 'dataroot_lq': opt['dataroot_gt']})
        if self.from_lmdb:  # one environment, because LMDB refuses to open a file twice
            self.io_backend_opt.update(db_paths=[self.gt_folder], client_keys=['gt'])
        seed = None if opt['phase'] == 'train' else opt.get('seed', 0)
        self.noise = NoiseSource(where, opt['sigma'], seed, opt.get('clip', False))

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return {'lq', 'gt': (C,h,w) float32 RGB or gray, 'lq_path', 'gt_path'}, and in training 'mask' (1,h,w) int32.

        ``gt`` is in [0, 1]; ``lq`` can exceed it unless ``clip`` is set.
        """
        path = self.paths[index]['gt_path']
        gt = self.read(path, 'gt')
        masks: dict[str, Tensor] = {}
        if self.opt['phase'] == 'train':
            records = [] if self.store is None else [self.record(index, gt)]
            crops, _ = paired_random_crop([gt, *records], gt, self.opt['gt_size'], 1, path)
            gt = augment(crops, self.opt['use_hflip'], self.opt['use_rot'])
            if records:
                gt, mask = gt
                masks = self.masks(records[0], mask)
        gt = unit_range(gt)[..., ::-1]
        if canonical_color(self.opt.get('color')) == 'gray':
            gt = (gray(np.round(gt * 255)) / 255).astype(np.float32)[..., None]
        images = {'lq': _tensor(self.noise(gt, peak=1)), 'gt': _tensor(gt)}
        return {**images, **masks, 'lq_path': path, 'gt_path': path}


def _check(where: str, opt: dict[str, Any]) -> None:
    if opt.get('sigma') is None:
        raise SAPDError(f'{where}.sigma: missing, expected the standard deviation of the noise on the 0-255 scale.')
    check_choice(f'{where}.color', canonical_color(opt.get('color', 'rgb')), ('rgb', 'gray'))
    if opt.get('scale', 1) != 1:
        raise SAPDError(f'scale: found {opt["scale"]}, but a denoiser keeps the size: 1 is expected.')
    for key in ('mean', 'std'):
        if opt.get(key) is not None:
            raise SAPDError(f'{where}.{key}: found {opt[key]}, but noise is measured in [0, 1]: leave it out.')
    if opt['phase'] == 'train' and opt.get('seed') is not None:
        raise SAPDError(f'{where}.seed: training draws new noise for each patch, seeded by manual_seed.')


def _tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
