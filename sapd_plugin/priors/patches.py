"""How many regions the patches of a training set hold: in small patches, masks have little to say."""

from __future__ import annotations

import random
import statistics
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from sapd_plugin.priors.shuffled import ShuffledMasks
from sapd_plugin.priors.store import MaskStore

SAMPLES = 200
# Fewer regions than this in the median are worth a warning.
ENOUGH = 3
# Sides that the warning compares the patch with.
LARGER = (128, 192, 256)


class PatchRegions(NamedTuple):
    """Regions of sampled patches; pixels without a mask are no region.

    Attributes:
        median: of the number of regions.
        single: share of the patches that hold fewer than two, 0..1.
        largest: mean share of a patch that its largest region covers, 0..1.
    """

    median: float
    single: float
    largest: float


def sample_patches(store: MaskStore | ShuffledMasks, keys: Sequence[str], size: tuple[int, int] | None) -> PatchRegions:
    """Cut patches at random places, always the same ones, and count their regions.

    Args:
        store: the masks.
        keys: those of the training images, at least one; at most `SAMPLES` of them are read.
        size: (H, W) of a patch; smaller images, and all images if it is None, are taken whole.
    """
    rng = random.Random(0)
    counts, largest = [], []
    for i in range(SAMPLES):
        record = store.record(keys[i * len(keys) // SAMPLES])
        whole = record.shape[:2]
        rows, columns = (
            slice(start := rng.randint(0, max(full - side, 0)), start + side)
            for full, side in zip(whole, size or whole)
        )
        pixels = np.bincount(record[rows, columns].reshape(-1))
        regions = pixels[1:][pixels[1:] > 0]
        counts.append(len(regions))
        largest.append(regions.max(initial=0) / pixels.sum())
    single = sum(count < 2 for count in counts) / SAMPLES
    return PatchRegions(statistics.median(counts), single, statistics.fmean(largest))


def few_regions(where: str, store: MaskStore | ShuffledMasks, keys: Sequence[str], size: tuple[int, int] | None) -> str:
    """Return a warning if patches hold fewer than `ENOUGH` regions in the median, else an empty string.

    Args:
        where: the config key of the patch size, for the message.
        store: the masks.
        keys: those of the training images.
        size: (H, W) of a patch, or None for whole images.
    """
    found = sample_patches(store, keys, size)
    if found.median >= ENOUGH:
        return ''
    patch = 'an image' if size is None else f'a patch of {size[0]}x{size[1]}'
    sides = [side for side in LARGER if size is not None and side > max(size)]
    medians = ((side, sample_patches(store, keys, (side, side)).median) for side in sides)
    larger = ', '.join(f'{median:g} at {side}' for side, median in medians)
    return (
        f'{where}: in the median, {patch} holds {found.median:g} regions, expected at least {ENOUGH}; '
        f'{100 * found.single:.0f} % hold fewer than two, and the largest covers {100 * found.largest:.0f} %. There, '
        f'masks can tell SPF and SGR little.{f" Larger patches hold more: {larger}." if larger else ""}'
    )
