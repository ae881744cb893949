"""Masks in MMagic's own transforms: each stock transform runs unchanged, and the mask follows it.

The mask travels as ``results['sam_mask']``, (H,W,1) integer, at the size of ``gt``, and is read as late as the pipeline
allows. Transforms are matched by class name, base classes included.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import mmcv
import numpy as np
import torch

from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.loading import run_step
from sapd_plugin.mmagic.pending import PendingMask
from sapd_plugin.priors.context import patch_context
from sapd_plugin.priors.shuffled import ShuffledMasks
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.keys import template_key
from sapd_plugin.priors.training import check_size

WHERE = 'train_dataloader.dataset'
MASK, CONTEXT, GT = 'sam_mask', 'mask_context', 'gt'
Follow = Callable[[Any, dict[str, Any]], dict[str, Any]]

# These change the values of ``gt`` but do not move pixels.
KEEP_PLACE = (
    'Clip',
    'ColorJitter',
    'CopyValues',
    'GaussianNoise',
    'MATLABGray',
    'Normalize',
    'RandomBlur',
    'RandomJPEGCompression',
    'RandomNoise',
    'RescaleToZeroOne',
    'SetValues',
    'UnsharpMasking',
)


@dataclass
class LoadSAMMask:
    """Add an image's mask to its results, as a :class:`~sapd_plugin.mmagic.pending.PendingMask`.

    Args:
        store: the masks.
        template: how the store names an image whose key is '{}'.
        context: whether to add the photo's context, too, as ``results['mask_context']``.
    """

    store: MaskStore | ShuffledMasks
    template: str = '{}'
    context: bool = False

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Read the mask of ``results['key']``.

        Raises:
            SAPDError: no mask, a damaged one, or one whose size differs from ``gt``.
        """
        record = self.store.record(template_key(results['key'], self.template))
        check_size(WHERE, results['gt_path'], record.shape[:2], results[GT].shape[:2])
        results[MASK] = PendingMask(record)
        if self.context:
            results[CONTEXT] = record.context()
        return results


class PackSAMMask:
    """Pass the mask and its context to the pipeline's own PackInputs; the mask as int32, a dtype of tensors."""

    def __init__(self, pack: Any) -> None:
        pack.data_keys = [*pack.data_keys, MASK, CONTEXT]
        self.pack = pack

    def __call__(self, results: dict[str, Any]) -> dict[str, Any]:
        """Pack; ``data_samples.sam_mask`` is (1,H,W) int32, ``data_samples.mask_context`` (65,7) float32."""
        mask = _read(results)
        if CONTEXT in results:
            mask, context = patch_context(mask, results[CONTEXT])
            results[CONTEXT] = torch.from_numpy(context)
        # A tensor, because MMagic would copy an array once more.
        results[MASK] = torch.from_numpy(np.ascontiguousarray(mask[None, ..., 0], dtype=np.int32))
        return self.pack(results)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.pack!r})'


def with_masks(
    transforms: Sequence[Any], store: MaskStore | ShuffledMasks, template: str = '{}', context: bool = False
) -> list[Any]:
    """Return the built transforms of a training pipeline with those that load, move and pack masks, and their context.

    One that fails for an image names it.

    Raises:
        SAPDError: ``gt`` is never loaded or never packed, or an unknown transform moves it.
    """
    aligned: list[Any] = []
    loaded = packed = False
    for transform in transforms:
        step = transform
        if loaded and 'PackInputs' in _names(transform):
            step, packed = PackSAMMask(transform), True
        elif loaded:
            follow = _how_to_follow(transform)
            step = transform if follow is None else partial(follow, transform)
        aligned.append(partial(run_step, f'{WHERE}.pipeline', step, type(transform).__name__))
        if not loaded and is_loader(transform) and transform.key == GT:
            aligned.append(LoadSAMMask(store, template, context))
            loaded = True
    if not loaded or not packed:
        step = "LoadImageFromFile with key='gt'" if not loaded else 'PackInputs'
        raise SAPDError(f'{WHERE}.pipeline: has no {step}, so masks cannot be added.')
    return aligned


def is_loader(transform: Any) -> bool:
    """Return whether a transform is MMagic's LoadImageFromFile, or derived from it."""
    return 'LoadImageFromFile' in _names(transform)


def patch_size(transforms: Sequence[Any]) -> tuple[int, int] | None:
    """Return (H, W) of the patches of ``gt`` that a training pipeline crops, or None if it crops none."""
    for transform in transforms:
        if 'PairedRandomCrop' in _names(transform):
            return transform.gt_patch_size, transform.gt_patch_size
        if 'FixedCrop' in _names(transform) and GT in transform.keys:
            return transform.crop_size
    return None


def least_side(transforms: Sequence[Any]) -> int | None:
    """Return the side that an image needs for the crop of a training pipeline, or None if that is not known."""
    for transform in transforms:
        if _names(transform) & {'Resize', 'MATLABLikeResize', 'ModCrop', 'FixedCrop'}:
            return None
        if 'PairedRandomCrop' in _names(transform):
            return int(transform.gt_patch_size)
    return None


def scale_of_pairs(transforms: Sequence[Any]) -> int | None:
    """Return how much larger ``gt`` has to be than ``img`` for the crop of a training pipeline, or None if unknown."""
    scale = None
    for transform in transforms:
        if _names(transform) & {'CopyValues', 'FixedCrop', 'MATLABLikeResize', 'ModCrop', 'Resize'}:
            return None
        if 'SetValues' in _names(transform):
            scale = transform.dictionary.get('scale', scale)
        if 'PairedRandomCrop' in _names(transform):
            return scale
    return None


def image_channels(transforms: Sequence[Any]) -> int | None:
    """Return the number of channels of the images that a training pipeline gives; None if it is that of the files."""
    kinds = {transform.color_type for transform in transforms if is_loader(transform) and transform.key == GT}
    kinds = {str(kind).removesuffix('_ignore_orientation') for kind in kinds}
    if 'grayscale' in kinds or any('MATLABGray' in _names(transform) for transform in transforms):
        return 1
    return 3 if kinds == {'color'} else None


def _names(transform: Any) -> set[str]:
    return {base.__name__ for base in inspect.getmro(type(transform))}


def _how_to_follow(transform: Any) -> Follow | None:
    names = _names(transform)
    if names & FOLLOW.keys():
        return FOLLOW[next(name for name in FOLLOW if name in names)]
    keys = [getattr(transform, key, ()) for key in ('keys', 'key', 'gt_key', 'output_keys', 'dst_keys', 'data_keys')]
    touched = {name for value in keys for name in ([value] if isinstance(value, str) else value or ())}
    if names & {*KEEP_PLACE} or (touched and GT not in touched):
        return None
    known = ', '.join(sorted([*FOLLOW, *KEEP_PLACE]))
    raise SAPDError(
        f"{WHERE}.pipeline: it is unknown how {type(transform).__name__} moves 'gt', so masks could not follow. "
        f'Known are {known}, their subclasses, and transforms of other keys.'
    )


def _read(results: dict[str, Any]) -> np.ndarray:
    """Return the whole mask as an array, for a transform that needs its pixels."""
    return results[MASK][:, :]


def _cropped(transform: Any, results: dict[str, Any]) -> dict[str, Any]:
    """Crop both: a crop takes a list of images per key, and the same part of each."""
    results[GT] = [results[GT], results[MASK]]
    results = transform(results)
    results[GT], results[MASK] = results[GT]
    return results


def _flipped(transform: Any, results: dict[str, Any]) -> dict[str, Any]:
    results = transform(results)
    if GT in transform.keys and results['flip_infos'][-1]['flip']:
        mask = results[MASK]
        if isinstance(mask, PendingMask):
            results[MASK] = mask.flipped(transform.direction)
        else:
            results[MASK] = mask[:, ::-1] if transform.direction == 'horizontal' else mask[::-1]
    return results


def _transposed(transform: Any, results: dict[str, Any]) -> dict[str, Any]:
    results = transform(results)
    if GT in transform.keys and results['transpose']:
        mask = results[MASK]
        results[MASK] = mask.transposed() if isinstance(mask, PendingMask) else mask.transpose(1, 0, 2)
    return results


def _resized(transform: Any, results: dict[str, Any]) -> dict[str, Any]:
    results = transform(results)
    height, width = results[GT].shape[:2]
    if results[MASK].shape[:2] != (height, width):
        # "Exact" samples at pixel centers, as the interpolation of the image does.
        mask = np.ascontiguousarray(_read(results))
        mask = cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)
        results[MASK] = mask.reshape(height, width, 1)
    return results


def _cropped_at_the_end(transform: Any, results: dict[str, Any]) -> dict[str, Any]:
    results = transform(results)
    height, width = results[GT].shape[:2]
    results[MASK] = results[MASK][:height, :width]
    return results


def _rotated(transform: Any, results: dict[str, Any]) -> dict[str, Any]:
    before = random.getstate()
    results = transform(results)
    if GT in transform.keys:
        after = random.getstate()
        random.setstate(before)
        angle = random.uniform(*transform.degrees)  # the transform does not return the drawn angle
        random.setstate(after)
        mask = np.ascontiguousarray(_read(results))
        results[MASK] = mmcv.imrotate(mask, angle, interpolation='nearest').reshape(mask.shape)
    return results


# MMagic switch table: transform class name -> the function that runs the transform and moves the mask.
FOLLOW: dict[str, Follow] = {
    'FixedCrop': _cropped,
    'Flip': _flipped,
    'MATLABLikeResize': _resized,
    'ModCrop': _cropped_at_the_end,
    'PairedRandomCrop': _cropped,
    'RandomRotation': _rotated,
    'RandomTransposeHW': _transposed,
    'Resize': _resized,
}
