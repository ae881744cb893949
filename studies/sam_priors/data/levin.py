"""The real camera shakes of Levin et al. (CVPR 2009): their kernels, and photos aligned with their sharp images.

Comparing ``blur(sharp, kernel)`` with the real photos (correlation 0.9958 to 0.9998 at the best shift) shows:

- Kernel images may be stored rotated by 180 degrees relative to the real blur. In the KAIR collection, six of the eight
  are (all but 4 and 8). `study_kernels` rotates each as its photos require.
- A photo is displaced relative to its sharp image, differently for each kernel and image: by up to 5 pixels (2
  downwards) once the kernel is centred by mass. Both are cropped to the area that they share.
- The remaining displacement, up to half a pixel, is not corrected: resampling would change the ground truth. A perfect
  restoration that is half a pixel off has 31 dB or more.
- Pixels near a crop's border depend on pixels outside it, as in every training patch. Cropping both images further
  would only move that border, so it is not done; a metric may exclude a border.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from sapd_plugin.datasets.files import open_workshop
from sapd_plugin.datasets.placing import refuse_foreign_files
from sapd_plugin.datasets.run import say
from sapd_plugin.datasets.synthetic.blur import read_kernels
from sapd_plugin.datasets.synthetic.job import check_record
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image
from studies.sam_priors.data.sets import list_photos

# Largest displacement that is searched, in pixels along each axis.
REACH = 15


class Shake(NamedTuple):
    """One real photo: its files and the name of its kernel."""

    photo: Path
    sharp: Path
    kernel: str


class Alignment(NamedTuple):
    """The alignment of a photo with its sharp image.

    Attributes:
        shift: (down, right), whole pixels by which the sharp image has to be moved.
        rest: the remaining displacement, about -0.5..0.5 pixels.
        correlation: correlation of the blurred sharp image with the photo at ``shift``, -1..1.
    """

    shift: tuple[int, int]
    rest: tuple[float, float]
    correlation: float


def find_shakes(folder: Path, any_count: bool) -> dict[str, Shake]:
    """Pair ``blurred/imI_kernelK`` with ``sharp/imI`` and ``kernels/kernelK``, by the photo's name.

    Raises:
        SAPDError: a folder, an image or a kernel is missing, or a photo has a different name.
    """
    photos = list_photos('--levin', folder / 'blurred', None if any_count else 32)
    sharp = list_photos('--levin', folder / 'sharp', None)
    kernels = {path.stem for path in (folder / 'kernels').glob('*.png')}
    shakes = {}
    for name, path in photos.items():
        match = re.fullmatch(r'(im\d+)_(kernel\d+)', name)
        if match is None or match[1] not in sharp or match[2] not in kernels:
            raise SAPDError(f'--levin: found {path}, expected imI_kernelK.png with sharp/imI.png, kernels/kernelK.png.')
        shakes[name] = Shake(path, sharp[match[1]], match[2])
    return shakes


def study_kernels(folder: Path, shakes: Mapping[str, Shake]) -> dict[str, np.ndarray]:
    """Read the kernels, rotate each by 180 degrees if its photos were blurred that way, and centre it by mass.

    Centred kernels blur an image without displacing it, as random trajectories do, so a student need not know the
    kernel to restore the position.

    A kernel without a photo is not rotated. Each is (size,size) float64, with sum 1 and odd size.
    """
    kernels = {}
    for name, stored in read_kernels(folder / 'kernels').items():
        both = [centred(stored), centred(stored[::-1, ::-1])]
        own = [shake for shake in shakes.values() if shake.kernel == name]
        fits = [np.mean([align(shake, kernel).correlation for shake in own] or [0.0]) for kernel in both]
        kernels[name] = both[int(fits[1] > fits[0])]
    return kernels


def centred(kernel: np.ndarray) -> np.ndarray:
    """Return a kernel whose centre of mass is in the middle, to half a pixel; padded as needed."""
    weights, middle = kernel / kernel.sum(), (kernel.shape[0] - 1) / 2
    down, right = (round(float(middle - (axis * weights).sum())) for axis in np.indices(kernel.shape))
    return np.roll(np.pad(kernel, max(abs(down), abs(right))), (down, right), axis=(0, 1))


def align(shake: Shake, kernel: np.ndarray) -> Alignment:
    """Return the alignment at which the blurred sharp image and the photo correlate best.

    Raises:
        SAPDError: the images have different sizes, or are too small.
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
    rest = round(-_vertex(scores[:, x], y), 3), round(-_vertex(scores[y], x), 3)
    return Alignment((REACH - y, REACH - x), rest, round(float(scores[y, x]), 6))


def _vertex(line: np.ndarray, at: int) -> float:
    """Return where the parabola through a maximum and its neighbours peaks, relative to the maximum."""
    if not 0 < at < len(line) - 1:
        return 0.0
    before, top, after = (float(value) for value in line[at - 1 : at + 2])
    return 0.5 * (before - after) / (before - 2 * top + after)


def overlap(shake: Shake, shift: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Crop a photo and its sharp image to the area that they share; both are (H,W,3) uint8, grey in three channels."""
    images = read_image(shake.photo), read_image(shake.sharp)
    windows = [
        tuple(slice(max(0, d), size + min(0, d)) for d, size in zip(moved, images[0].shape))
        for moved in (shift, (-shift[0], -shift[1]))
    ]
    return images[0][windows[0]], images[1][windows[1]]


def write_kernels(folder: Path, kernels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Write kernels as 8-bit images, and return them as read back from the files, so that sets can be made again.

    Raises:
        SAPDError: the folder holds different files or kernels.
    """
    images = {folder / f'{name}.png': np.rint(255 * k / k.max()).astype(np.uint8) for name, k in kernels.items()}
    refuse_foreign_files(set(images))
    for path, image in images.items():
        if path.exists() and not np.array_equal(read_image(path)[..., 0], image):
            raise SAPDError(f'{path}: found a different kernel, expected that of --levin. Remove it or set --output.')
    missing = [path for path in images if not path.exists()]
    with open_workshop(folder) as workshop:
        say(f'{folder.parent.name}/{folder.name}: {len(kernels)} kernels', len(missing), workshop)
        for path in missing:
            workshop.write_image(path, np.repeat(images[path][..., None], 3, axis=2))
    return read_kernels(folder)


def make_levin_set(folder: Path, shakes: Mapping[str, Shake], kernels: Mapping[str, np.ndarray]) -> None:
    """Write ``folder/{input,target}/NAME.png``, and parameters.json with each photo's alignment.

    Raises:
        SAPDError: images cannot be aligned, or the folder holds different data.
    """
    alignments = {name: align(shake, kernels[shake.kernel]) for name, shake in shakes.items()}
    paths = {name: [folder / side / f'{name}.png' for side in ('input', 'target')] for name in shakes}
    refuse_foreign_files({path for both in paths.values() for path in both})
    images = {
        name: {**shake._asdict(), 'photo': shake.photo.name, 'sharp': shake.sharp.name, **alignments[name]._asdict()}
        for name, shake in shakes.items()
    }
    record = json.loads(json.dumps({'degradation': 'real camera shake', 'images': images}))
    check_record(folder / 'parameters.json', record)
    missing = [name for name, both in paths.items() if not all(path.exists() for path in both)]
    with open_workshop(folder.parent) as workshop:
        say(f'{folder.parent.name}/{folder.name}: {len(shakes)} pairs of real photos', len(missing), workshop)
        for side in ('input', 'target'):
            (folder / side).mkdir(parents=True, exist_ok=True)
        workshop.write_text(folder / 'parameters.json', json.dumps(record, indent=1) + '\n')
        for name in missing:
            for path, image in zip(paths[name], overlap(shakes[name], alignments[name].shift)):
                workshop.write_image(path, image)
