"""Rain streaks, added to a photo with saturation, similar to Rain100L and Rain100H.

A streak is a straight line with a Gaussian cross section and tapered ends. An image has one or more layers; the streaks
of a layer share their direction up to a small spread and differ in length, width and brightness.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sapd_plugin.datasets.synthetic.settings import Range, check_bounds, draw, draw_integer


@dataclass(frozen=True)
class RainSettings:
    """Ranges that an image's rain is drawn from."""

    layers: Range  # number of layers
    angle: Range  # of a layer, degrees from the vertical, positive to the right at the lower end
    spread: Range  # standard deviation of a streak's angle around its layer's, degrees
    density: Range  # streaks of a layer per 10,000 pixels
    length: Range  # median length of a layer's streaks, pixels; they vary by about a half
    width: Range  # standard deviation of the cross section, pixels
    brightness: Range  # median peak of a layer's streaks on the 0-255 scale; they vary by about a half


PRESETS = {
    'light': RainSettings((1, 1), (-28, 28), (0.5, 3.5), (9, 34), (18, 52), (0.55, 0.95), (23, 80)),
    'heavy': RainSettings((3, 5), (-50, 50), (0.5, 3.5), (20, 40), (22, 60), (0.65, 1.15), (36, 88)),
}
BOUNDS = {
    'layers': (1, 20),
    'angle': (-90, 90),
    'spread': (0, 90),
    'density': (0, 1000),
    'length': (1, 1000),
    'width': (0.2, 50),
    'brightness': (0, 255),
}
# Standard deviation of the logarithm of a streak's length and brightness within its layer.
VARIATION = 0.45


class Rain:
    """Draw the rain of an image and render it."""

    name = 'rain'

    def __init__(self, settings: RainSettings) -> None:
        check_bounds(settings, BOUNDS)
        self.settings = settings

    def draw(self, random: np.random.Generator) -> dict[str, Any]:
        """Draw the parameters of one image: ``{'layers': [{angle, spread, ...}, ...]}``."""
        keys = ('angle', 'spread', 'density', 'length', 'width', 'brightness')
        layers = draw_integer(random, self.settings.layers)
        return {
            'layers': [{key: draw(random, getattr(self.settings, key)) for key in keys} for _ in range(layers)],
        }

    def render(self, photo: np.ndarray, parameters: dict[str, Any], random: np.random.Generator) -> np.ndarray:
        """Add rain with these parameters; ``random`` places the streaks."""
        rain = np.zeros(photo.shape[:2], dtype=np.float32)
        for layer in parameters['layers']:
            add_layer(rain, layer, random)
        return np.minimum(photo + np.round(rain)[..., None], 255).astype(np.uint8)


def add_layer(rain: np.ndarray, layer: dict[str, float], random: np.random.Generator) -> None:
    """Add one layer's streaks to ``rain``, (H,W) float32, in place."""
    height, width = rain.shape
    # Streaks also start outside the photo, with the same density.
    margin = 2 * layer['length']
    area = (height + 2 * margin) * (width + 2 * margin)
    count = int(random.poisson(layer['density'] * area / 10_000))
    x = random.uniform(-margin, width + margin, count)
    y = random.uniform(-margin, height + margin, count)
    angle = np.radians(layer['angle'] + layer['spread'] * random.standard_normal(count))
    half = 0.5 * layer['length'] * np.exp(VARIATION * random.standard_normal(count))
    peak = layer['brightness'] * np.exp(VARIATION * random.standard_normal(count))
    for streak in range(count):
        add_streak(rain, x[streak], y[streak], angle[streak], half[streak], layer['width'], min(peak[streak], 255))


def add_streak(rain: np.ndarray, x: float, y: float, angle: float, half: float, width: float, peak: float) -> None:
    """Add a streak around (x, y), in place: ``half`` is half its length, ``angle`` in radians from the vertical."""
    sine, cosine = np.sin(angle), np.cos(angle)
    reach_x, reach_y = half * abs(sine) + 3 * width, half * abs(cosine) + 3 * width
    left, right = max(0, int(np.floor(x - reach_x))), min(rain.shape[1], int(np.ceil(x + reach_x)) + 1)
    top, bottom = max(0, int(np.floor(y - reach_y))), min(rain.shape[0], int(np.ceil(y + reach_y)) + 1)
    if left >= right or top >= bottom:
        return
    dx = np.arange(left, right, dtype=np.float32) - np.float32(x)
    dy = (np.arange(top, bottom, dtype=np.float32) - np.float32(y))[:, None]
    along = np.abs(dx * np.float32(sine) + dy * np.float32(cosine)) / np.float32(half)
    across = (dx * np.float32(cosine) - dy * np.float32(sine)) / np.float32(width)
    taper = np.clip(1 - along * along, 0, None)
    rain[top:bottom, left:right] += np.float32(peak) * taper * np.exp(-0.5 * across * across)
