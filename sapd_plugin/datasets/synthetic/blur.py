"""Camera shake: one motion kernel for the whole image, and slight noise.

The kernels are random trajectories, like a hand moving while the shutter is open: the direction drifts and jerks,
and the speed changes. Or they are read from files, such as the eight kernels of Levin et al. (CVPR 2009).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy.ndimage

from sapd_plugin.datasets.synthetic.noise import add_noise
from sapd_plugin.datasets.synthetic.settings import Range, check_bounds, draw, draw_integer
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image


@dataclass(frozen=True)
class BlurSettings:
    """Ranges that an image's blur is drawn from."""

    size: Range  # side of the kernel, pixels; made odd
    extent: Range  # longest side of the trajectory as a fraction of the kernel's side
    jerks: Range  # sudden changes of direction
    wander: Range  # how fast the direction drifts, 0 for a straight line
    sigma: Range  # noise after the blur, on the 0-255 scale; 1 % is 2.55


PRESETS = {'shake': BlurSettings((9, 31), (0.6, 0.9), (1, 6), (0.1, 0.7), (2.55, 2.55))}
BOUNDS = {'size': (3, 255), 'extent': (0.1, 1), 'jerks': (0, 100), 'wander': (0, 3), 'sigma': (0, 255)}
# Points of a trajectory.
STEPS = 400


class Blur:
    """Draw the kernel of an image and apply it.

    Attributes:
        kernels: by name, kernels to draw from instead of random trajectories; empty for trajectories.
        kernel_share: probability, 0..1, that a photo gets one of ``kernels`` and not a trajectory.
    """

    name = 'blur'

    def __init__(
        self, settings: BlurSettings, kernels: dict[str, np.ndarray] | None = None, kernel_share: float = 1.0
    ) -> None:
        check_bounds(settings, BOUNDS)
        if not 0 <= kernel_share <= 1:
            raise SAPDError(f'--kernel-share: found {kernel_share:g}, expected 0 to 1.')
        self.settings = settings
        self.kernels = kernels or {}
        self.kernel_share = kernel_share

    def draw(self, random: np.random.Generator) -> dict[str, Any]:
        """Draw one image's parameters: ``{'kernel': name or {size, extent, jerks, wander, seed}, 'sigma': ...}``."""
        # If all photos take one, nothing is drawn for the choice, so such data sets stay the same.
        if self.kernels and (self.kernel_share == 1 or random.random() < self.kernel_share):
            names = sorted(self.kernels)
            kernel: str | dict[str, Any] = names[draw_integer(random, (0, len(names) - 1))]
        else:
            kernel = {
                'size': draw_integer(random, self.settings.size) // 2 * 2 + 1,
                'extent': draw(random, self.settings.extent),
                'jerks': draw_integer(random, self.settings.jerks),
                'wander': draw(random, self.settings.wander),
                'seed': draw_integer(random, (0, 2**32 - 1)),
            }
        return {'kernel': kernel, 'sigma': draw(random, self.settings.sigma)}

    def render(self, photo: np.ndarray, parameters: dict[str, Any], random: np.random.Generator) -> np.ndarray:
        """Blur and add the noise; the photo is mirrored at its borders."""
        kernel = parameters['kernel']
        weights = self.kernels[kernel] if isinstance(kernel, str) else shake_kernel(**kernel)
        # filter2D correlates: turned by 180 degrees, that is a convolution.
        blurred = cv2.filter2D(photo.astype(np.float64), -1, weights[::-1, ::-1], borderType=cv2.BORDER_REFLECT_101)
        return add_noise(blurred, parameters['sigma'], random)


def shake_kernel(size: int, extent: float, jerks: int, wander: float, seed: int) -> np.ndarray:
    """Make the kernel of a random trajectory, (size,size) float64, non-negative, with sum 1 and its mass centered."""
    random = np.random.default_rng(seed)
    turns = wander * random.standard_normal(STEPS) * np.sqrt(40 / STEPS)
    turns[random.integers(0, STEPS, jerks)] += random.uniform(-np.pi, np.pi, jerks)
    direction = random.uniform(0, 2 * np.pi) + np.cumsum(turns)
    # The hand's speed varies: slow parts are bright.
    speed = np.exp(scipy.ndimage.gaussian_filter1d(random.standard_normal(STEPS), STEPS / 20) * 4)
    path = np.cumsum(speed[:, None] * np.stack([np.cos(direction), np.sin(direction)], axis=1), axis=0)
    path *= extent * (size - 1) / max(np.ptp(path, axis=0).max(), 1e-9)
    path -= path.mean(axis=0)
    # If the mass lies at one end, its center cannot be the kernel's center.
    middle = (size - 1) / 2
    path += middle
    path -= np.maximum(path.max(axis=0) - (size - 1), 0) + np.minimum(path.min(axis=0), 0)
    kernel = np.zeros((size, size))
    base = np.clip(np.floor(path).astype(int), 0, size - 2)
    part = path - base
    for dy in (0, 1):
        for dx in (0, 1):
            weight = np.abs(1 - dx - part[:, 0]) * np.abs(1 - dy - part[:, 1])
            np.add.at(kernel, (base[:, 1] + dy, base[:, 0] + dx), weight)
    return kernel / kernel.sum()


def read_kernels(place: Path) -> dict[str, np.ndarray]:
    """Read kernels from a folder of gray pictures, or from one picture; each is scaled to a sum of 1.

    Raises:
        SAPDError: there is no picture, or one is black.
    """
    files = [place] if place.is_file() else sorted(place.glob('*.png'))
    kernels = {}
    for path in files:
        weights = read_image(path)[..., 0].astype(np.float64)
        if weights.sum() == 0:
            raise SAPDError(f'--kernels: {path} is black, expected a kernel.')
        kernels[path.stem] = weights / weights.sum()
    if not kernels:
        raise SAPDError(f'--kernels: found no .png in {place}, expected one picture per kernel.')
    return kernels
