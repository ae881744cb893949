"""The photos of the study, their split, and the synthetic sets that are made from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sapd_plugin.datasets.synthetic import blur, noise, rain
from sapd_plugin.datasets.synthetic.job import Degradation
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import list_images

COUNT = 365
# The validation set: every 9th of the sorted photos from the 5th on, at most 40.
EVERY, FIRST, VALIDATION = 9, 4, 40

# The second study's subsets: of the training photos, so few that a student sees each many times; of the validation
# photos, so few that a curve costs little.
FEW, CURVE = 24, 8

# Share of the photos of a blurred set that take a kernel of Levin et al.; the others take random trajectories.
KERNEL_SHARE = 0.5

Photos = dict[str, Path]
"""Photos by name, sorted."""


def list_photos(option: str, folder: Path, count: int | None) -> Photos:
    """List the images of a folder and its sub-folders, sorted by name; ``option`` is for messages.

    Raises:
        SAPDError: there is no such folder, a different number of images, or two images with the same name.
    """
    if not folder.is_dir():
        raise SAPDError(f'{option}: found no folder {folder}, expected one of images.')
    photos: Photos = {}
    for path in list_images(folder)[0]:
        if photos.setdefault(path.stem, path) != path:
            raise SAPDError(f'{option}: found {photos[path.stem]} and {path}, expected one image of that name.')
    if count is not None and len(photos) != count:
        raise SAPDError(f'{option}: found {len(photos)} images in {folder}, expected {count}; see --any-count.')
    return dict(sorted(photos.items()))


def split_photos(photos: Photos) -> dict[str, Photos]:
    """Split sorted training photos into ``train`` and ``val``.

    >>> split = split_photos({f'{i:03}': Path(f'{i:03}.jpg') for i in range(365)})
    >>> len(split['train']), len(split['val']), list(split['val'])[:2]
    (325, 40, ['004', '013'])
    """
    chosen = set(list(photos)[FIRST::EVERY][:VALIDATION])
    return {
        'train': {name: path for name, path in photos.items() if name not in chosen},
        'val': {name: path for name, path in photos.items() if name in chosen},
    }


def spread(photos: Photos, count: int) -> Photos:
    """Return ``count`` of sorted photos, at equal distances; all if there are not more.

    >>> list(spread({name: Path(name) for name in 'abcdefg'}, 3))
    ['a', 'c', 'e']
    """
    return dict(list(photos.items())[:: max(1, len(photos) // count)][:count])


class SyntheticSet(NamedTuple):
    """One split: its place ``NAME/SPLIT``, how its clean photos are degraded, and the seed of the random numbers."""

    place: str
    degradation: Degradation
    photos: Photos
    seed: int


def study_blur(kernels: Mapping[str, np.ndarray]) -> blur.Blur:
    """Return the blur: half real kernels, half random trajectories of 9 to 25 pixels, and noise of 1 %."""
    settings = replace(blur.PRESETS['shake'], size=(9, 25), sigma=(2.55, 2.55))
    return blur.Blur(settings, dict(kernels), KERNEL_SHARE)


def synthetic_sets(
    split: Mapping[str, Photos], cbsd68: Photos, segmented: Photos, kernels: Mapping[str, np.ndarray]
) -> list[SyntheticSet]:
    """Return the sets; ``kernels`` are those of `levin.study_kernels`, and ``segmented`` may be empty."""
    light_rain = rain.Rain(rain.PRESETS['light'])  # about as strong as Rain100L's
    degradations: dict[str, Degradation] = {
        'MiniRain': light_rain,
        'MiniNoise': noise.Noise(noise.NoiseSettings((15, 55))),
        'MiniBlur': study_blur(kernels),
    }
    sets = [
        SyntheticSet(f'{name}/{part}', degradations[name], split[part], 0) for name in degradations for part in split
    ]
    # The second study: heavier degradations. The noise of an image depends on its name, so subsets hold the same pairs.
    strong: dict[str, Degradation] = {
        'Noise50': noise.Noise(noise.PRESETS['sigma50']),
        'HeavyRain': rain.Rain(rain.PRESETS['heavy']),
        'StrongBlur': blur.Blur(replace(blur.PRESETS['shake'], size=(21, 31)), {}, 0.0),
    }
    sets += [SyntheticSet(f'{name}/{part}', strong[name], split[part], 0) for name in strong for part in split]
    sets += [
        SyntheticSet('Noise50/few', strong['Noise50'], spread(split['train'], FEW), 0),
        SyntheticSet('Noise50/curve', strong['Noise50'], spread(split['val'], CURVE), 0),
        SyntheticSet('CBSD68_heavy_rain/test', strong['HeavyRain'], cbsd68, 5),
        SyntheticSet('CBSD68_strong_blur/test', strong['StrongBlur'], cbsd68, 6),
    ]
    # Each test set has its own seed, so that no two have the same noise.
    sets += [
        SyntheticSet('CBSD68_sigma25/test', noise.Noise(noise.PRESETS['sigma25']), cbsd68, 1),
        SyntheticSet('CBSD68_sigma50/test', noise.Noise(noise.PRESETS['sigma50']), cbsd68, 2),
        SyntheticSet('CBSD68_blur/test', study_blur(kernels), cbsd68, 3),
        SyntheticSet('CBSD68_rain/test', light_rain, cbsd68, 4),
    ]
    return sets + ([SyntheticSet('MiniHuman/train', light_rain, segmented, 0)] if segmented else [])
