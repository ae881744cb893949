"""Errors of student and teacher by kind of pixel, and how closely the student follows the teacher."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.ndimage import maximum_filter, minimum_filter

from sapd_plugin.evaluation.statistics import Interval, markdown_table

# Pixels within this distance of a boundary count as boundary.
REACH = 2
# A region is small if it covers less than this fraction of the image.
SMALL = 0.01
# Kinds of pixels and their descriptions. Each pixel is of one kind.
KINDS = {
    'boundary': f'within {REACH} pixels of a boundary between two regions, or between a region and unmasked pixels',
    'small': f'farther inside regions below {SMALL:.0%} of the image',
    'large': 'farther inside larger regions',
    'unmasked': 'without a mask, farther from any region',
}
WHOLE = 'whole'
# Arms (restored images) and their descriptions.
ARMS = {
    'input': 'the degraded image',
    'stock': 'the stock student (--reference)',
    'y': 'the student that was trained with SAM priors',
    'z': "SPF of y with the image's masks: the teacher",
    'z_shuffled': "SPF of y with another image's masks",
    'z_empty': 'SPF of y without masks',
    'z_one_region': 'SPF of y with one region that covers the image; equals z_empty unless network_spf.fusion is image',
    'z_felzenszwalb': "SPF of y with felzenszwalb's regions of y",
    'y_twin': 'the student of the twin that was trained with one region (--twin)',
    'z_twin': 'SPF of y_twin, of the same training',
}
# Pairs of arms whose PSNR differences are in the table.
GAINS = (
    ('z', 'y'),
    ('z', 'z_shuffled'),
    ('z', 'z_empty'),
    ('z', 'z_one_region'),
    ('z', 'z_felzenszwalb'),
    ('z', 'z_twin'),
    ('y', 'y_twin'),
    ('y', 'stock'),
)


@dataclass(frozen=True)
class Score:
    """Errors of one image on one kind of pixel, one of `KINDS` or `WHOLE`, on the 0-255 scale."""

    image: str
    kind: str
    pixels: int
    mse: dict[str, float]  # mean squared error of each arm to the target, over pixels and channels
    to_teacher: float  # root of the mean squared difference of y and z

    def psnr(self, arm: str) -> float:
        """Return the PSNR in dB over the pixels of the kind."""
        return psnr(self.mse[arm])

    @property
    def to_target(self) -> float:
        """Root of the mean squared difference of y and the target, on the 0-255 scale."""
        return self.mse['y'] ** 0.5


def psnr(mse: float) -> float:
    """Return the PSNR in dB of a mean squared error on the 0-255 scale; errors below 1e-4 count as 1e-4."""
    return float(10 * np.log10(255**2 / max(mse, 1e-4)))


def region_kinds(labels: np.ndarray) -> np.ndarray:
    """Return the kind of each pixel of a label map, (H,W) uint8: an index into `KINDS`.

    >>> region_kinds(np.array([[1] * 4 + [0] * 4])).tolist()
    [[2, 2, 0, 0, 0, 0, 3, 3]]
    """
    _, which, areas = np.unique(labels, return_inverse=True, return_counts=True)
    small = (areas < SMALL * labels.size)[which.reshape(labels.shape)]
    kinds = np.where(labels == 0, 3, np.where(small, 1, 2)).astype(np.uint8)
    window = 2 * REACH + 1
    # The image's own border is not a boundary: 'nearest' repeats existing labels.
    kinds[maximum_filter(labels, window, mode='nearest') != minimum_filter(labels, window, mode='nearest')] = 0
    return kinds


def score(image: str, restored: Mapping[str, np.ndarray], target: np.ndarray, labels: np.ndarray) -> list[Score]:
    """Score one image as a whole, and on each kind of pixel that it has.

    Args:
        image: name of the image.
        restored: (H,W,3) float in 0..1 by arm, including ``y`` and ``z``.
        target: (H,W,3) float in 0..1.
        labels: (H,W) integers, the image's masks, which determine the kinds of pixels for all arms.
    """
    errors = {arm: _squared(result, target) for arm, result in restored.items()}
    to_teacher, kinds = _squared(restored['y'], restored['z']), region_kinds(labels)
    scores = []
    for kind in (WHOLE, *KINDS):
        chosen = np.ones_like(kinds, bool) if kind == WHOLE else kinds == list(KINDS).index(kind)
        if chosen.any():
            mse = {arm: float(error[chosen].mean()) for arm, error in errors.items()}
            scores.append(Score(image, kind, int(chosen.sum()), mse, float(to_teacher[chosen].mean()) ** 0.5))
    return scores


def table(scores: Sequence[Score]) -> str:
    """Return two Markdown tables with one column per kind: PSNR and its gains; shares of the error, RMSE of y to z."""
    arms = [arm for arm in ARMS if arm in scores[0].mse]
    gains = [(a, b) for a, b in GAINS if b in arms]
    whole = [s for s in scores if s.kind == WHOLE]
    quality, errors = [], []
    for kind in (WHOLE, *KINDS):
        mine = [s for s in scores if s.kind == kind]
        if not mine:
            continue
        quality.append(
            {'': kind, 'images': len(mine)}
            | {f'PSNR {arm}': f'{np.mean([s.psnr(arm) for s in mine]):.3f}' for arm in arms}
            | {f'{a} - {b}': _gain(mine, a, b).text(3, '+') for a, b in gains}
        )
        pixels = sum(s.pixels for s in mine)
        to_z = (sum(s.to_teacher**2 * s.pixels for s in mine) / pixels) ** 0.5
        to_target = (_sum(mine, 'y') / pixels) ** 0.5
        errors.append(
            {'': kind, '% of pixels': f'{100 * pixels / sum(s.pixels for s in whole):.1f}'}
            | {f'% of error {arm}': _percent(_sum(mine, arm), _sum(whole, arm)) for arm in arms}
            | {'RMSE y to z': f'{to_z:.3f}', 'RMSE y to target': f'{to_target:.3f}'}
            | {'ratio': f'{to_z / to_target:.3f}' if to_target else '-'}  # y is the target there
        )
    notes = [
        'PSNR (dB): RGB, floating point (restored images clamped to 0..1, not rounded), mean over the images that have',
        'such pixels; differences with their 95 % confidence intervals over the images.',
        'Shares of error: of the squared error summed over all images. RMSE: on the 0-255 scale, over all pixels.',
        *(f'- {arm}: {ARMS[arm]}' for arm in arms),
        *(f'- {kind}: {text}' for kind, text in KINDS.items()),
    ]
    # One line per quantity: with one per kind, the table would have a column for each of up to 18 quantities.
    tables = [
        markdown_table(
            (row[''] for row in [{'': ''}, *rows]), ([key, *(row[key] for row in rows)] for key in quantities)
        )
        for rows in (quality, errors)
        for quantities in [[key for key in rows[0] if key]]
    ]
    return '\n'.join([*tables[0], '', *tables[1], '', *notes])


def _percent(part: float, whole: float) -> str:
    return f'{100 * part / whole:.1f}' if whole else '-'


def _gain(scores: Sequence[Score], a: str, b: str) -> Interval:
    """Return the mean difference of two arms' PSNR; its interval ends where no PSNR is."""
    return Interval.of([s.psnr(a) - s.psnr(b) for s in scores], (-psnr(0), psnr(0)))


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Write a CSV, one row per image and kind: pixels, MSE and PSNR of each arm, RMSE of y to z and to the target."""
    arms = [arm for arm in ARMS if arm in scores[0].mse]
    rows = [
        {'image': s.image, 'kind': s.kind, 'pixels': s.pixels}
        | {f'mse_{arm}': s.mse[arm] for arm in arms}
        | {f'psnr_{arm}': s.psnr(arm) for arm in arms}
        | {'rmse_y_z': s.to_teacher, 'rmse_y_target': s.to_target}
        for s in scores
    ]
    pd.DataFrame(rows).to_csv(path, index=False, float_format='%.6f', lineterminator='\r\n')


def _squared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return ((255 * (first - second)) ** 2).mean(axis=2)


def _sum(scores: Sequence[Score], arm: str) -> float:
    return sum(s.mse[arm] * s.pixels for s in scores)
