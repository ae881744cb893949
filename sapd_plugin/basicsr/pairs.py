"""Sizes of a training set's pairs: what would fail in a loader's worker, at whatever iteration, fails at the start."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.image_header import image_size


def check_pairs(
    where: str,
    opt: Mapping[str, Any],
    pairs: Iterable[tuple[Mapping[str, str], tuple[int, int] | None]],
    backend: str,
) -> None:
    """Refuse a ground truth that is smaller than the patch, and a degraded image that does not belong to its size.

    Args:
        where: config key of the data set, for messages.
        opt: of the data set: ``gt_size`` and ``scale``.
        pairs: ``gt_path`` and ``lq_path`` of each, and (H, W) of the ground truth, if it is known.
        backend: type of BasicSR's file client; only with 'disk' are degraded images looked at.

    Raises:
        SAPDError: naming the image, its size and what is expected.
    """
    side, scale = opt['gt_size'], opt['scale']
    for pair, truth in pairs:
        if truth is None:
            continue
        if min(truth) < side:
            raise SAPDError(
                f'{where}.gt_size: found {side}, but {pair["gt_path"]} is {_text(truth)}. Remove smaller images, or '
                f'lower gt_size to {min(truth)} at most.'
            )
        if backend == 'disk' and pair['lq_path'] != pair['gt_path']:
            degraded = image_size(pair['lq_path'])
            if tuple(length * scale for length in degraded) != tuple(truth):
                raise SAPDError(
                    f'{where}.dataroot_lq: {pair["lq_path"]} is {_text(degraded)} and its ground truth '
                    f'{_text(truth)}, expected {scale} times its size (scale).'
                )


def _text(size: Sequence[int]) -> str:
    return f'{size[0]}x{size[1]} (height x width)'
