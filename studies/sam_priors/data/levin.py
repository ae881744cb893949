"""The real camera shakes of Levin et al. (CVPR 2009): their kernels, and photos and sharp images brought in line.

What comparing ``blur(sharp, kernel)`` with the real photos tells (correlation 0.9958 to 0.9998 at the best shift):

- Kernel pictures may be stored turned by 180 degrees against what blurred the photos: six of the eight, all but 4 and
  8, are in the KAIR collection's. `study_kernels` turns each as its photos say.
- A photo is displaced against its sharp image, another way for each kernel and image: by up to 5 pixels (2 downwards)
  once the kernel is centred by its mass. Both are cropped to what they share.
- The rest of the displacement is up to half a pixel and is left: resampling would change the ground truth. A perfect
  restoration half a pixel off has 31 dB or more.
- The blur looks beyond each crop's border, as it does in every training patch. A border crop of both images would
  only move that border, so there is none; a metric may leave a border out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from sapd_plugin.datasets.synthetic.blur import read_kernels
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image
from studies.sam_priors.data.photos import Photos, list_photos

REACH = 15
"""Largest displacement that is looked for, pixels along each axis."""


@dataclass(frozen=True)
class Shake:
    """One real photo: files, and the names of its sharp image and kernel."""

    photo: Path
    sharp: Path
    kernel: str


@dataclass(frozen=True)
class Alignment:
    """How a photo lies on its sharp image.

    Attributes:
        shift: (down, right), whole pixels by which the sharp image has to be moved.
        rest: the same, what is left of it, -0.5..0.5 pixels about.
        correlation: of the blurred sharp image with the photo at ``shift``, -1..1.
    """

    shift: tuple[int, int]
    rest: tuple[float, float]
    correlation: float


def find_shakes(folder: Path, any_count: bool) -> dict[str, Shake]:
    """Pair ``blurred/imI_kernelK`` with ``sharp/imI`` and ``kernels/kernelK``, by the photo's name.

    Raises:
        SAPDError: a folder, an image or a kernel is missing, or a photo is named otherwise.
    """
    photos = list_photos('--levin', folder / 'blurred', None if any_count else 32)
    sharp: Photos = list_photos('--levin', folder / 'sharp', None)
    kernels = {path.stem for path in (folder / 'kernels').glob('*.png')}
    shakes = {}
    for name, path in photos.items():
        found = re.fullmatch(r'(im\d+)_(kernel\d+)', name)
        if found is None or found[1] not in sharp or found[2] not in kernels:
            raise SAPDError(f'--levin: found {path}, expected imI_kernelK.png with sharp/imI.png, kernels/kernelK.png.')
        shakes[name] = Shake(path, sharp[found[1]], found[2])
    return shakes


def study_kernels(folder: Path, shakes: Mapping[str, Shake]) -> dict[str, np.ndarray]:
    """Read the kernels, turn each by 180 degrees where that is how its photos were blurred, and centre it.

    Centred by mass, they blur without displacing, as random trajectories do: then a student need not know a kernel to
    know where things are.

    Args:
        folder: of ``kernels``.
        shakes: the photos; a kernel without any stays as it is stored.

    Returns:
        (size,size) float64 each, of sum 1 and odd size.
    """
    kernels = {}
    for name, stored in read_kernels(folder / 'kernels').items():
        both = [centred(stored), centred(stored[::-1, ::-1])]
        mine = [shake for shake in shakes.values() if shake.kernel == name]
        fits = [np.mean([align(shake, kernel).correlation for shake in mine] or [0.0]) for kernel in both]
        kernels[name] = both[int(fits[1] > fits[0])]
    return kernels


def centred(kernel: np.ndarray) -> np.ndarray:
    """Move a kernel's centre of mass to the middle, to half a pixel, with room around it."""
    weights = kernel / kernel.sum()
    middle = (kernel.shape[0] - 1) / 2
    down, right = (round(float(middle - (axis * weights).sum())) for axis in np.indices(kernel.shape))
    return np.roll(np.pad(kernel, max(abs(down), abs(right))), (down, right), axis=(0, 1))


def align(shake: Shake, kernel: np.ndarray) -> Alignment:
    """Correlate the blurred sharp image with the photo over shifts.

    Raises:
        SAPDError: for images of unequal sizes, or too small ones.
    """
    sharp, photo = (read_image(path)[..., 0].astype(np.float32) for path in (shake.sharp, shake.photo))
    margin = 2 * REACH
    if sharp.shape != photo.shape or min(sharp.shape) < 4 * margin:
        raise SAPDError(
            f'--levin: {shake.photo} is of {photo.shape}, {shake.sharp} of {sharp.shape}; expected one size of '
            f'{4 * margin} pixels or more.'
        )
    blurred = cv2.filter2D(sharp, -1, kernel[::-1, ::-1], borderType=cv2.BORDER_REFLECT_101)
    inner = slice(margin - REACH, REACH - margin)
    scores = cv2.matchTemplate(blurred[inner, inner], photo[margin:-margin, margin:-margin], cv2.TM_CCOEFF_NORMED)
    y, x = (int(index) for index in np.unravel_index(scores.argmax(), scores.shape))
    lines = scores[:, x], scores[y]
    rest = tuple(round(-_vertex(line, at), 3) for line, at in zip(lines, (y, x)))
    return Alignment((REACH - y, REACH - x), (rest[0], rest[1]), round(float(scores[y, x]), 6))


def overlap(shake: Shake, shift: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Crop photo and sharp image to what they share: both (H,W,3) uint8, grey in three channels."""
    photo, sharp = read_image(shake.photo), read_image(shake.sharp)
    windows = []
    for sign in (1, -1):
        windows.append(tuple(slice(max(0, sign * d), n + min(0, sign * d)) for d, n in zip(shift, photo.shape)))
    return photo[windows[0]], sharp[windows[1]]


def _vertex(line: np.ndarray, at: int) -> float:
    """Where the parabola through a maximum and its neighbours has its top, relative to the maximum."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, top, after = (float(value) for value in line[at - 1 : at + 2])
    return 0.5 * (before - after) / (before - 2 * top + after)
