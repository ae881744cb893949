"""A training patch as a picture: degraded, restored, refined, ground truth, mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from basicsr.utils import imwrite
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.core import Step, ToRGB
from sapd_plugin.priors.pictures import overlay


def patch_picture(degraded: Tensor, step: Step, to_rgb: ToRGB) -> np.ndarray:
    """Put the first patch's images side by side.

    Args:
        degraded: (N,C,h,w) in the training space; scaled up to the ground truth's size by pixel repetition.
        step: images (N,C,H,W) and mask (N,1,H,W).
        to_rgb: from the training space.

    Returns:
        (H, 5*W, 3) uint8 RGB: degraded, restored, refined, ground truth, mask over ground truth.
    """
    degraded = F.interpolate(degraded, size=step.gt.shape[-2:])
    images = [
        (to_rgb(image[:1])[0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
        for image in (degraded, step.restored, step.refined, step.gt)
    ]
    images.append(overlay(images[-1], step.mask[0, 0].cpu().numpy()))
    return np.concatenate(images, axis=1)


def log_pictures(
    degraded: Tensor, step: Step, to_rgb: ToRGB, iteration: int, tb_logger: Any, folder: str | None
) -> None:
    """Send :func:`patch_picture` to TensorBoard and, where a folder is given, to ``folder/sapd/patch_{iter}.png``."""
    if tb_logger is None and folder is None:
        return
    picture = patch_picture(degraded, step, to_rgb)
    if tb_logger is not None:
        tb_logger.add_image('sapd/degraded_restored_refined_gt_mask', picture, iteration, dataformats='HWC')
    if folder is not None:
        imwrite(picture[..., ::-1], str(Path(folder) / 'sapd' / f'patch_{iteration}.png'))
