"""The photos of a trial of masks: images, what a student restores from them, and each kind of masks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.mask_arms import Photos
from sapd_plugin.evaluation.mask_trial import Photo
from sapd_plugin.evaluation.mask_verdict import SHUFFLED
from sapd_plugin.evaluation.pairs import Pairs, match_masks
from sapd_plugin.image_header import image_size
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.segmenters import Segmenter
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.progress import Bar


class Masks(NamedTuple):
    """One kind of masks.

    Attributes:
        settings: identify it in the record of a trial.
        labels: returns the label map of a photo, (H,W) integer, given its key and y.
    """

    settings: str
    labels: Callable[[str, np.ndarray], np.ndarray]


def stored_masks(store: MaskStore, pairs: Pairs, template: str) -> Masks:
    """Return the masks of a store, after a check that it holds those of all pairs.

    Args:
        store: of masks of the pairs' images.
        pairs: degraded and clean image by key.
        template: how the store names an image whose key is '{}'.

    Raises:
        SAPDError: masks are missing, or are of other images or of another size.
    """
    keys, compared = match_masks(store, pairs, template)
    for key, (_, clean) in pairs.items():
        if store.size(keys[key]) != image_size(clean):
            found, expected = ('{}x{}'.format(*size) for size in (store.size(keys[key]), image_size(clean)))
            raise SAPDError(f"--masks: {store.path}: the mask '{keys[key]}' is {found}, the image {expected}.")
    print(f'{store.path}: {compared}')
    return Masks(store.fingerprint, lambda key, restored: store.record(keys[key]).labels())


def masks_of_restored(name: str, segmenter: Segmenter) -> Masks:
    """Return the masks that ``segmenter``, called ``name`` in the record, cuts on y."""
    return Masks(name, lambda key, restored: segmenter(restored).labels)


def restore_photos(
    pairs: Pairs, restorer: Callable[[np.ndarray], np.ndarray], kinds: Mapping[str, Masks]
) -> dict[str, dict[str, Photo]]:
    """Return the photos by kind of masks and key; they share their images.

    Args:
        pairs: degraded and clean image by key.
        restorer: returns y, (H,W,3) RGB uint8, given the degraded image.
        kinds: masks by name.

    Raises:
        SAPDError: y has not the target's size, or is gray where the target is in color.
    """
    found: dict[str, dict[str, Photo]] = {name: {} for name in kinds}
    for key, (degraded, clean) in Bar(pairs.items(), 'restore', len(pairs), unit='image'):
        image, target = read_image(degraded), read_image(clean)
        restored = restorer(image)
        if restored.shape != target.shape:
            raise SAPDError(f'--restored-by: {key} is restored to {restored.shape}, its target is {target.shape}.')
        if np.ptp(restored, axis=2).max() == 0 < np.ptp(target, axis=2).max():
            raise SAPDError(f'--restored-by: the student restores {key} to a gray image, but its target is in color.')
        gt, x, y = (_as_tensor(each) for each in (target, image, restored))
        for name, masks in kinds.items():
            found[name][key] = Photo(key, gt, x, y, _as_labels(masks.labels(key, restored)))
    return found


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    """Return (H,W,3) uint8 as (3,H,W) in [0, 1], in half precision, which is exact enough for 8 bits."""
    return _even(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).half() / 255)


def _as_labels(labels: np.ndarray) -> torch.Tensor:
    """Return a label map (H,W) as (1,H,W), in 16 bits if they suffice."""
    kind = np.int16 if labels.max(initial=0) <= np.iinfo(np.int16).max else np.int32
    return _even(torch.from_numpy(labels.astype(kind))[None])


def _even(image: torch.Tensor) -> torch.Tensor:
    """Cut the last row and column of an odd size off: h works at half size."""
    return image[..., : image.shape[-2] // 2 * 2, : image.shape[-1] // 2 * 2]


def photos_of_arms(
    photos: Mapping[str, Mapping[str, Photo]], training: Pairs, testing: Pairs, shuffled: str | None, seed: int
) -> dict[str, Photos]:
    """Return the photos of each arm with masks.

    Args:
        photos: from :func:`restore_photos`.
        training: the pairs to train on.
        testing: the pairs to test on.
        shuffled: the kind of masks that gets a second arm, trained and tested with masks of other photos; or None.
        seed: decides whose masks a photo gets.
    """
    arms = {}
    for name, own in photos.items():
        trained, tested = ([own[key] for key in keys] for keys in (training, testing))
        others = exchanged(tested, seed)
        arms[name] = Photos(trained, tested, others)
        if name == shuffled:
            arms[f'{name}{SHUFFLED}'] = Photos(exchanged(trained, seed), others, [])
    return arms


def exchanged(photos: Sequence[Photo], seed: int) -> list[Photo]:
    """Return the photos with the masks of another one each, stretched to their size; the seed decides whose."""
    order = np.random.default_rng(seed).permutation(len(photos))
    found: dict[int, Photo] = {}
    for own, other in zip(order, np.roll(order, 1)):
        labels = photos[other].labels
        if labels.shape != photos[own].labels.shape:
            size = photos[own].labels.shape[-2:]
            labels = F.interpolate(labels[None].float(), size, mode='nearest-exact')[0].to(labels.dtype)
        found[int(own)] = replace(photos[own], labels=labels)
    return [found[index] for index in range(len(photos))]
