"""Pairs of images: what would fail in a loader's worker or at the first validation fails at the start, and is named."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import cv2
import numpy as np

from sapd_plugin.errors import SAPDError, describe
from sapd_plugin.image_header import image_size
from sapd_plugin.priors.verification import SAMPLES, ImageFile, evenly_spread
from sapd_plugin.regular_files import read_regular

_CROPPED = 1.25  # largest ratio of a ground truth's side to the restored one's
_SSIM_WINDOW = 11  # pixels that SSIM needs along each side; PSNR needs one


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
            degraded = _size(f'{where}.dataroot_lq', pair['lq_path'])
            if tuple(length * scale for length in degraded) != tuple(truth):
                raise SAPDError(
                    f'{where}.dataroot_lq: {pair["lq_path"]} is {_text(degraded)} and its ground truth '
                    f'{_text(truth)}, expected {scale} times its size (scale).'
                )


def check_order(where: str, opt: Mapping[str, Any], pair: Mapping[str, str]) -> None:
    """Refuse folders that are exchanged, which the sizes of a pair tell in super-resolution.

    Args:
        where: config key of the data set, for messages.
        opt: of the data set.
        pair: ``gt_path`` and ``lq_path`` of an image on disk.

    Raises:
        SAPDError: naming the images and their sizes.
    """
    scale, paths = opt.get('scale') or 1, [pair['gt_path'], pair['lq_path']]
    if scale == 1 or paths[0] == paths[1]:
        return
    truth, degraded = (_size(f'{where}.dataroot_{key}', path) for key, path in zip(('gt', 'lq'), paths))
    if tuple(length * scale for length in truth) == tuple(degraded):
        raise SAPDError(
            f'{where}: dataroot_gt and dataroot_lq are exchanged: the ground truth {paths[0]} is {_text(truth)} and '
            f'{paths[1]} {_text(degraded)}, expected the ground truth to be the larger one (scale {scale}).'
        )


def check_validation(
    where: str, opt: Mapping[str, Any], pairs: Sequence[Mapping[str, str]], metrics: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse images of a validation that would end it, or whose metrics would be NaN; a sample of them is read.

    Args:
        where: config key of the data set, for messages.
        opt: of the data set.
        pairs: ``gt_path`` and ``lq_path`` of each image, on disk.
        metrics: those of ``val.metrics``.

    Raises:
        SAPDError: naming the image or the metric, what was found and what is expected.
    """
    scale = opt.get('scale') or 1
    for pair in evenly_spread(pairs, SAMPLES):
        check_order(where, opt, pair)
        truth, degraded = (decoded_size(image_file(pair[key])) for key in ('gt_path', 'lq_path'))
        restored = (degraded[0] * scale, degraded[1] * scale)
        # BasicSR crops a larger ground truth, for benchmarks whose images are larger by a few pixels.
        if not all(expected <= found <= _CROPPED * expected for found, expected in zip(truth, restored)):
            raise SAPDError(
                f'{where}.dataroot_gt: {pair["gt_path"]} is {_text(truth)} and {pair["lq_path"]} {_text(degraded)}, '
                f'expected a ground truth of {scale} times its size (scale), or slightly more.'
            )
        for name, metric in metrics.items():
            border, needed = metric.get('crop_border') or 0, _SSIM_WINDOW if 'ssim' in str(metric.get('type')) else 1
            limit = (min(restored) - needed) // 2
            if border > limit:
                expected = f'{limit} at most' if limit >= 0 else 'larger images'
                raise SAPDError(
                    f'val.metrics.{name}.crop_border: found {border}, but {pair["lq_path"]} restored is '
                    f'{_text(restored)}, of which {metric["type"]} needs {needed}x{needed} pixels. Expected {expected}.'
                )


def image_file(path: str) -> ImageFile:
    """Return an image on disk."""
    return ImageFile(path, partial(read_regular, path))


def decoded_size(file: ImageFile) -> tuple[int, int]:
    """Return (H, W) of an image, which is decoded whole.

    Raises:
        SAPDError: naming the image, which cannot be read or decoded.
    """
    try:
        image = cv2.imdecode(np.frombuffer(file.load(), np.uint8), cv2.IMREAD_COLOR)
    except Exception as error:  # of whatever library reads it
        raise SAPDError(f'{file.name}: cannot be read ({describe(error)}), expected an image.') from error
    if image is None:
        raise SAPDError(f'{file.name}: cannot be decoded, expected an image.')
    return image.shape[0], image.shape[1]


@contextmanager
def named_pair(where: str, pair: Mapping[str, str]) -> Iterator[None]:
    """Name the images that a data set cannot load.

    Args:
        where: config key of the data set, for messages.
        pair: paths of the images, or keys of an LMDB.

    Raises:
        SAPDError: naming the images, and the error.
    """
    try:
        yield
    except SAPDError:
        raise
    except Exception as error:  # of BasicSR, of OpenCV, or of a class that a user wrote: any
        names = ' and '.join(dict.fromkeys(path for key, path in pair.items() if str(key).endswith('_path')))
        raise SAPDError(f'{where}: {names} cannot be loaded ({describe(error)}), expected whole images.') from error


def _size(where: str, path: str) -> tuple[int, int]:
    try:
        return image_size(path)
    except OSError as error:
        raise SAPDError(f'{where}: {path} cannot be read ({error.strerror or error}), expected an image.') from error


def _text(size: Sequence[int]) -> str:
    return f'{size[0]}x{size[1]} (height x width)'
