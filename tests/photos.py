"""Small data sets of real photos with masks, and commands as a user runs them: what the adapters' tests share."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStoreWriter

ROOT = Path(__file__).parents[1]


def make_pairs(shared: Path, folder: Path, count: int = 4, size: tuple[int, int] | None = None) -> Path:
    """Real rainy and clean photos as folder/{rainy,clean}, cut to ``size`` (H, W) where given."""
    for kind in ('rainy', 'clean'):
        (folder / kind).mkdir(parents=True)
        for source in sorted((shared / 'rain100l' / kind).glob('*.png'))[:count]:
            image = cv2.imread(str(source))
            if size is not None:
                image = image[window(size)]
            cv2.imwrite(str(folder / kind / source.name), image)
    return folder


def window(size: tuple[int, int]) -> tuple[slice, slice]:
    """A part of a photo that holds several things, not only sky."""
    return slice(140, 140 + size[0]), slice(100, 100 + size[1])


def make_store(folder: Path, images: Path, labels: Any = None, settings: dict[str, Any] | None = None) -> Path:
    """A mask store for the images of a folder; ``labels(path)`` gives an (H,W) integer map, by default grey levels."""
    with MaskStoreWriter(folder, settings or {'segmenter': 'test'}) as writer:
        for path in sorted(images.glob('*.png')):
            writer.put(path.stem, LabelMap.from_labels((labels or grey_levels)(path)))
    return folder


def grey_levels(path: Path) -> np.ndarray:
    """A map that can be computed from any crop of the image: its quantised grey value, 1..8."""
    return quantise(cv2.imread(str(path)))


def quantise(bgr: np.ndarray) -> np.ndarray:
    return bgr.astype(np.int32).sum(axis=2) // 96 + 1


def shared_labels(shared: Path) -> Any:
    """MobileSAM's masks of the shared data, for images that make_pairs cut."""

    def read(path: Path) -> np.ndarray:
        labels = cv2.imread(str(shared / 'masks/rain100l/clean' / path.name), cv2.IMREAD_UNCHANGED)
        size = cv2.imread(str(path)).shape[:2]
        return labels if labels.shape == size else labels[window(size)]

    return read


def run(command: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a user's command; a failure shows all that it printed."""
    full = {**os.environ, 'OMP_NUM_THREADS': '1', **env}
    result = subprocess.run([sys.executable, *command], cwd=cwd, env=full, capture_output=True, text=True, timeout=600)
    result.stdout += result.stderr
    return result
