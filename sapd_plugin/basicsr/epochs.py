"""How many batches BasicSR makes of an epoch's images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from basicsr.utils import get_root_logger

from sapd_plugin.errors import SAPDError


def check_draws(batch: int, draws: int, factors: str = '') -> None:
    """Refuse batches that an epoch cannot fill: BasicSR drops the last one if it is not full, and trains in silence.

    Args:
        batch: images per batch of a process.
        draws: images per epoch of a process.
        factors: what ``draws`` is made of, for the message.

    Raises:
        SAPDError: naming the numbers.
    """
    if draws < batch:
        raise SAPDError(
            f'datasets.train.batch_size_per_gpu: found {batch}, but each process draws {draws} images per epoch'
            f'{factors}, so there would be no full batch and no step. Lower it, or raise dataset_enlarge_ratio.'
        )


def check_epochs(opt: Mapping[str, Any], options: Mapping[str, Any], images: int) -> None:
    """Refuse a training without a step, and warn of one that BasicSR ends early.

    BasicSR counts the last batch of an epoch even if it is not full, and drops it.

    Args:
        opt: of the training set.
        options: of the training.
        images: number of images in the training set.

    Raises:
        SAPDError: as :func:`check_draws`.
    """
    batch, ratio, ranks = opt['batch_size_per_gpu'], opt.get('dataset_enlarge_ratio', 1), options.get('world_size', 1)
    draws = math.ceil(images * ratio / ranks)  # as EnlargedSampler's
    check_draws(batch, draws, f' ({images} images x dataset_enlarge_ratio {ratio:g} / {ranks} processes)')
    total, counted = int(options['train']['total_iter']), math.ceil(images * ratio / (batch * ranks))
    steps = (math.ceil(total / counted) + 1) * (draws // batch)
    if steps < total:
        get_root_logger().warning(
            f'train.total_iter: BasicSR will end this training after {steps} of {total} iterations, because it counts '
            f'{counted} batches per epoch, of which {draws // batch} are full and used. Raise dataset_enlarge_ratio.'
        )
