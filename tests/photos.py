"""Small data sets of photos with masks, and commands as a user runs them: what many tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from skimage.segmentation import find_boundaries

from sapd_plugin.datasets.sample_photos import embedded_photos
from sapd_plugin.datasets.synthetic.job import render, streams
from sapd_plugin.datasets.synthetic.rain import PRESETS, Rain
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.store import MaskStoreWriter
from sapd_plugin.priors.store.digests import ImageDigests, digest_file, digest_pixels

ROOT = Path(__file__).parents[1]
SIZE = 321, 481  # that of BSDS500


@cache
def photographs() -> dict[str, np.ndarray]:
    """Return the photographs that scikit-image's wheel holds, RGB uint8 of ``SIZE``, by the names '001', '002', ..."""
    embedded = {name: photo for photos in embedded_photos().values() for name, photo in photos.items()}
    names = ('motorcycle', 'astronaut', 'coffee', 'chelsea', 'rocket', 'hubble')
    return {
        f'{i:03d}': cv2.resize(embedded[n], SIZE[::-1], interpolation=cv2.INTER_AREA) for i, n in enumerate(names, 1)
    }


@cache
def rainy(name: str) -> np.ndarray:
    """Return the photograph of that name in synthetic rain, RGB uint8 of ``SIZE``."""
    rain = Rain(PRESETS['light'])
    random, seed = streams(0, rain.name, name, 0)
    return render(rain, photographs()[name], {**rain.draw(random), 'pixel_seed': seed})


def make_pairs(folder: Path, count: int = 4, size: tuple[int, int] = SIZE) -> Path:
    """Write rainy and clean photos as folder/{rainy,clean}/001.png and so on, cropped to ``size`` (H, W)."""
    for name, clean in list(photographs().items())[:count]:
        for kind, image in (('rainy', rainy(name)), ('clean', clean)):
            (folder / kind).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / kind / f'{name}.png'), crop(image, size)[..., ::-1])
    return folder


def crop(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Crop an image of ``SIZE`` to (H, W), as near as possible to where the photographs hold several things."""
    top, left = (min(start, full - side) for start, full, side in zip((140, 100), SIZE, size))
    return image[top : top + size[0], left : left + size[1]]


def make_store(
    folder: Path,
    images: Path,
    labels: Callable[[Path], np.ndarray] | None = None,
    settings: dict[str, Any] | None = None,
) -> Path:
    """Write a mask store for the images of a folder; ``labels(path)`` gives an (H,W) integer map."""
    with MaskStoreWriter(folder, settings or {'segmenter': 'test'}) as writer:
        for path in sorted(images.glob('*.png')):
            label_map = LabelMap.from_labels((labels or grey_levels)(path))
            image = read_image(path)
            digests = ImageDigests(digest_pixels(image), digest_file(path.read_bytes()))
            writer.put(path.stem, label_map.with_colors(image), digests)
    return folder


def grey_levels(path: Path) -> np.ndarray:
    """Return a map that can be computed from any crop of the image: its quantised grey value, 1..8."""
    return quantise(cv2.imread(str(path)))


def quantise(bgr: np.ndarray) -> np.ndarray:
    return bgr.astype(np.int32).sum(axis=2) // 96 + 1


def is_context_of(image: np.ndarray, patch: np.ndarray, mask: np.ndarray, rows: np.ndarray) -> bool:
    """Return whether each label's row is the statistics of its grey level over the whole photo.

    Args:
        image, patch: BGR uint8, the photo and the part of it that the mask (h,w) belongs to.
        mask, rows: of a data set with ``mask_context`` on a store of `grey_levels`.
    """
    levels, own = quantise(image), quantise(patch)
    for label in np.unique(mask):
        pixels = image[levels == own[mask == label][0]][:, ::-1] / 255
        expected = [*pixels.mean(axis=0), *pixels.std(axis=0), len(pixels) / levels.size]
        if not np.allclose(rows[label], expected, atol=0.51 / 255):
            return False
    return not rows[int(mask.max()) + 1 :].any()


def same_partition(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two label maps divide the pixels alike, whatever their labels."""
    joint = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    return joint.shape[1] == len(np.unique(a)) == len(np.unique(b))


def segmented(path: Path) -> np.ndarray:
    """Return felzenszwalb's regions of an image, 0 along their borders: SAM leaves pixels without a mask, too."""
    labels = build_segmenter('felzenszwalb', min_size=30)(read_image(path)).labels
    return np.where(find_boundaries(labels, mode='inner'), 0, labels)


def run(command: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a user's command; a failure shows all that it printed."""
    full = {**os.environ, 'OMP_NUM_THREADS': '1', **env}
    result = subprocess.run([sys.executable, *command], cwd=cwd, env=full, capture_output=True, text=True, timeout=600)
    result.stdout += result.stderr
    return result


def succeed(command: list[str], cwd: Path, **env: str) -> str:
    """Run a user's command that has to succeed; returns what it printed."""
    result = run(command, cwd, **env)
    assert result.returncode == 0, result.stdout[-6000:]
    return result.stdout


def make_vgg(folder: Path) -> Path:
    """Write a VGG-19 up to relu3_1 with torchvision's names and random weights that keep the activations' size."""
    import torch

    generator = torch.Generator().manual_seed(0)
    state = {}
    for index, width, channels in ((0, 64, 3), (2, 64, 64), (5, 128, 64), (7, 128, 128), (10, 256, 128)):
        weight = torch.randn(width, channels, 3, 3, generator=generator) * (2 / (9 * channels)) ** 0.5
        state |= {f'features.{index}.weight': weight, f'features.{index}.bias': torch.zeros(width)}
    path = folder / 'vgg19_to_relu3_1.pth'
    torch.save(state, path)
    return path
