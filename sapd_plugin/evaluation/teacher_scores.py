"""Where the errors of student and teacher lie, and how far the student follows the teacher."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sapd_plugin.evaluation.region_kinds import KINDS, region_kinds
from sapd_plugin.evaluation.statistics import Interval

WHOLE = 'whole'
# Restored images, and what they are.
ARMS = {
    'input': 'the degraded image',
    'stock': 'the stock student (--reference)',
    'y': 'the student that was trained with SAM priors',
    'z': "SPF of y with the image's masks: the teacher",
    'z_shuffled': "SPF of y with another image's masks",
    'z_empty': 'SPF of y without masks',
}
# Differences of PSNR that the table shows.
GAINS = (('z', 'y'), ('z', 'z_shuffled'), ('z', 'z_empty'), ('y', 'stock'))


@dataclass(frozen=True)
class Score:
    """One image and kind of place.

    Attributes:
        image: its name.
        kind: of `KINDS`, or `WHOLE`.
        pixels: how many there are of the kind.
        mse: mean squared error of each arm to the target, on the 0-255 scale, over pixels and channels.
        to_teacher: root of the mean squared difference of y and z, on the same scale.
    """

    image: str
    kind: str
    pixels: int
    mse: dict[str, float]
    to_teacher: float

    def psnr(self, arm: str) -> float:
        """PSNR in dB; of the kind's pixels alone."""
        return psnr(self.mse[arm])

    @property
    def to_target(self) -> float:
        """As ``to_teacher``, of y and the target."""
        return self.mse['y'] ** 0.5


def psnr(mse: float) -> float:
    """PSNR in dB of a mean squared error on the 0-255 scale; of none, that of 1e-4."""
    return float(10 * np.log10(255**2 / max(mse, 1e-4)))


def score(image: str, restored: Mapping[str, np.ndarray], target: np.ndarray, labels: np.ndarray) -> list[Score]:
    """Score one image: whole, and each kind of place that it has.

    Args:
        image: its name.
        restored: arm -> (H,W,3) float in 0..1; ``y`` and ``z`` among them.
        target: (H,W,3) float in 0..1.
        labels: (H,W) integers, the image's masks; they say which place is of which kind, in all arms.
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
    """Two Markdown tables, a line a kind: PSNR and its gains; shares of the error, and how y follows z."""
    arms = [arm for arm in ARMS if arm in scores[0].mse]
    gains = [(a, b) for a, b in GAINS if b in arms]
    first = _head(['where', 'images', *(f'PSNR {arm}' for arm in arms), *(f'{a} - {b}' for a, b in gains)])
    second = _head(
        ['where', '% of pixels', *(f'% of error {arm}' for arm in arms), 'RMSE y to z', 'RMSE y to target', 'ratio']
    )
    whole = [s for s in scores if s.kind == WHOLE]
    for kind in (WHOLE, *KINDS):
        mine = [s for s in scores if s.kind == kind]
        if not mine:
            continue
        cells = [f'{np.mean([s.psnr(arm) for s in mine]):.3f}' for arm in arms]
        cells += [Interval.of([s.psnr(a) - s.psnr(b) for s in mine]).text(3, '+') for a, b in gains]
        first.append(_row([kind, str(len(mine)), *cells]))
        shares = [_sum(mine, arm) / max(_sum(whole, arm), 1e-12) for arm in arms]
        pixels = sum(s.pixels for s in mine)
        to_z = (sum(s.to_teacher**2 * s.pixels for s in mine) / pixels) ** 0.5
        to_target = (_sum(mine, 'y') / pixels) ** 0.5
        cells = [f'{100 * share:.1f}' for share in (pixels / sum(s.pixels for s in whole), *shares)]
        ratio = to_z / max(to_target, 1e-12)
        second.append(_row([kind, *cells, f'{to_z:.3f}', f'{to_target:.3f}', f'{ratio:.3f}']))
    notes = [
        'PSNR (dB): RGB, floating point (restored images cut off to 0..1, not rounded), mean over the images that have',
        'such places; differences with their 95 % confidence intervals over the images.',
        'Shares of error: of the squared error summed over all images. RMSE: on the 0-255 scale, over all pixels.',
        *(f'- {arm}: {ARMS[arm]}' for arm in arms),
        *(f'- {kind}: {text}' for kind, text in KINDS.items()),
    ]
    return '\n'.join([*first, '', *second, '', *notes])


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Write a line an image and kind: pixels, MSE and PSNR of each arm, RMSE of y to z and to the target."""
    arms = [arm for arm in ARMS if arm in scores[0].mse]
    with path.open('w', encoding='utf-8', newline='') as file:
        writer = csv.writer(file)
        columns = [f'{measure}_{arm}' for measure in ('mse', 'psnr') for arm in arms]
        writer.writerow(['image', 'kind', 'pixels', *columns, 'rmse_y_z', 'rmse_y_target'])
        for s in scores:
            values = [*(s.mse[arm] for arm in arms), *(s.psnr(arm) for arm in arms), s.to_teacher, s.to_target]
            writer.writerow([s.image, s.kind, s.pixels, *(f'{value:.6f}' for value in values)])


def _squared(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return ((255 * (first - second)) ** 2).mean(axis=2)


def _sum(scores: Sequence[Score], arm: str) -> float:
    return sum(s.mse[arm] * s.pixels for s in scores)


def _row(cells: Sequence[str]) -> str:
    return f'| {" | ".join(cells)} |'


def _head(names: Sequence[str]) -> list[str]:
    return [_row(names), f'|{" --- |" * len(names)}']
