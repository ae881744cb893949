"""Picture of student and teacher: the places where z is better and worse than y by the largest margin."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from sapd_plugin.priors.inspection.overlays import arrange

# Side of a crop in pixels.
CROP = 96
SHOWN = ('input', 'stock', 'y', 'z', 'target')


@dataclass(frozen=True)
class Crop:
    """Crop of an image: the squared error of y minus that of z (0-255 scale), and its images by arm."""

    gain: float
    title: str
    images: dict[str, np.ndarray]


class Extremes:
    """Collector of two crops: the one where z gains most over y, and the one where it loses most."""

    def __init__(self) -> None:
        self.best: Crop | None = None
        self.worst: Crop | None = None

    def look(self, name: str, restored: Mapping[str, np.ndarray], target: np.ndarray, labels: np.ndarray) -> None:
        """Compare one image with the crops found so far; the arguments are those of `teacher_scores.score`."""
        less = sum(sign * ((255 * (restored[arm] - target)) ** 2).mean(2) for arm, sign in (('y', 1), ('z', -1)))
        height, width = min(CROP, target.shape[0]), min(CROP, target.shape[1])
        gains = cv2.boxFilter(less, -1, (width, height), anchor=(0, 0), borderType=cv2.BORDER_CONSTANT)
        gains = gains[: target.shape[0] - height + 1, : target.shape[1] - width + 1]
        for index in (gains.argmax(), gains.argmin()):
            y, x = np.unravel_index(index, gains.shape)
            gain = float(gains[y, x])
            up = self.best is None or gain > self.best.gain
            down = self.worst is None or gain < self.worst.gain
            if up or down:
                window = (slice(y, y + height), slice(x, x + width))
                images = {arm: _pixels(restored[arm][window]) for arm in SHOWN if arm in restored}
                images['target'] = _pixels(target[window])
                images['masks'] = with_boundaries(images['target'], labels[window])
                crop = Crop(gain, f'{name} {x},{y}', images)
                self.best, self.worst = (crop if up else self.best), (crop if down else self.worst)

    def picture(self) -> np.ndarray:
        """Draw the two crops, one per row, and return (H,W,3) uint8 RGB."""
        assert self.best is not None, 'no image was compared'
        assert self.worst is not None
        tiles = []
        for crop, word in ((self.best, 'z best'), (self.worst, 'z worst')):
            for arm, image in crop.images.items():
                caption = f'{word}: {crop.title}' if arm == 'input' else arm
                tiles.append((caption, cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)))
        return arrange(tiles, len(self.best.images), 2 * CROP)


def with_boundaries(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Draw the boundaries of regions in red, one pixel wide, and return (H,W,3) uint8."""
    edge = np.zeros(labels.shape, bool)
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    edge[1:] |= labels[1:] != labels[:-1]
    drawn = image.copy()
    drawn[edge] = (255, 0, 0)
    return drawn


def _pixels(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray((255 * image).round().astype(np.uint8))
