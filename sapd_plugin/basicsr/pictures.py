"""The latest training patch as a picture, for BasicSR's TensorBoard logger and visualization folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from basicsr.utils import imwrite
from torch import Tensor

from sapd_plugin.core import StepRecord
from sapd_plugin.priors.inspection.pictures import strip


def log_pictures(degraded: Tensor, record: StepRecord, iteration: int, tb_logger: Any, folder: str | None) -> None:
    """Send a strip of degraded, y, z, ground truth and mask to TensorBoard and, if asked, to a file.

    Args:
        degraded: (N,C,h,w) in the training space.
        record: the step to show; its first sample is taken.
        iteration: counted from 1.
        tb_logger: a TensorBoard writer, or None.
        folder: writes ``folder/sapd/patch_{iteration}.png``; None writes no file.
    """
    if tb_logger is None and folder is None:
        return
    photos = [photo.numpy() for photo in record.photos(degraded)]
    picture = strip(photos, record.mask[0, 0].cpu().numpy())
    if tb_logger is not None:
        tb_logger.add_image('sapd/degraded_restored_refined_gt_mask', picture, iteration, dataformats='HWC')
    if folder is not None:
        imwrite(picture[..., ::-1], str(Path(folder) / 'sapd' / f'patch_{iteration}.png'))
