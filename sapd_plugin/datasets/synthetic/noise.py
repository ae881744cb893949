"""White Gaussian noise of one sigma, or of a range of them, clipped and rounded to 8 bits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sapd_plugin.datasets.synthetic.settings import Range, check_bounds, draw


@dataclass(frozen=True)
class NoiseSettings:
    """Ranges that an image's noise is drawn from."""

    sigma: Range  # standard deviation on the 0-255 scale, equal in all channels


PRESETS = {
    'sigma15': NoiseSettings((15, 15)),
    'sigma25': NoiseSettings((25, 25)),
    'sigma50': NoiseSettings((50, 50)),
    'blind': NoiseSettings((0, 50)),
}


class Noise:
    """Draw the sigma of an image and add the noise."""

    name = 'noise'

    def __init__(self, settings: NoiseSettings) -> None:
        check_bounds(settings, {'sigma': (0, 1000)})
        self.settings = settings

    def draw(self, random: np.random.Generator) -> dict[str, Any]:
        """Draw the parameters of one image: ``{'sigma': ...}``."""
        return {'sigma': draw(random, self.settings.sigma)}

    def render(self, photo: np.ndarray, parameters: dict[str, Any], random: np.random.Generator) -> np.ndarray:
        """Add the noise to a photo."""
        return add_noise(photo.astype(np.float64), parameters['sigma'], random)


def add_noise(image: np.ndarray, sigma: float, random: np.random.Generator) -> np.ndarray:
    """Add noise to float values on the 0-255 scale, and round to uint8."""
    return (image + sigma * random.standard_normal(image.shape)).round().clip(0, 255).astype(np.uint8)
