"""The synthetic sets of the study: training, validation and test pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from sapd_plugin.datasets.synthetic import blur, noise, rain
from sapd_plugin.datasets.synthetic.job import Degradation
from studies.sam_priors.data.photos import Photos

KERNEL_SHARE = 0.5
"""Of the photos of a blurred set, those with a kernel of Levin et al.; the others get random trajectories."""


@dataclass(frozen=True)
class SyntheticSet:
    """One split to be made.

    Attributes:
        place: ``NAME/SPLIT`` below the folder of all data sets.
        degradation: how its photos are degraded.
        photos: the clean ones by name.
        seed: of all that is drawn.
    """

    place: str
    degradation: Degradation
    photos: Photos
    seed: int


def light_rain() -> rain.Rain:
    """Rain about as strong as Rain100L's."""
    return rain.Rain(rain.PRESETS['light'])


def study_blur(kernels: Mapping[str, np.ndarray]) -> blur.Blur:
    """Half real kernels, half trajectories of 9 to 25 pixels, and noise of 1 %."""
    settings = replace(blur.PRESETS['shake'], size=(9, 25), sigma=(2.55, 2.55))
    return blur.Blur(settings, dict(kernels), KERNEL_SHARE)


def synthetic_sets(
    split: Mapping[str, Photos], cbsd68: Photos, kernels: Mapping[str, np.ndarray]
) -> list[SyntheticSet]:
    """List the sets.

    Args:
        split: ``train`` and ``val`` of the training photos.
        cbsd68: the test photos.
        kernels: see `preparation.study.levin.study_kernels`.
    """
    degradations: dict[str, Degradation] = {
        'MiniRain': light_rain(),
        'MiniNoise': noise.Noise(noise.NoiseSettings((15, 55))),
        'MiniBlur': study_blur(kernels),
    }
    sets = [
        SyntheticSet(f'{name}/{part}', degradation, photos, 0)
        for name, degradation in degradations.items()
        for part, photos in split.items()
    ]
    # A seed of its own for each test set: no two share their noise.
    sets += [
        SyntheticSet('CBSD68_sigma25/test', noise.Noise(noise.PRESETS['sigma25']), cbsd68, 1),
        SyntheticSet('CBSD68_sigma50/test', noise.Noise(noise.PRESETS['sigma50']), cbsd68, 2),
        SyntheticSet('CBSD68_blur/test', study_blur(kernels), cbsd68, 3),
        SyntheticSet('CBSD68_rain/test', light_rain(), cbsd68, 4),
    ]
    return sets
