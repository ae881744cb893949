"""Tables of per-image scores: means, and paired differences to one arm, with 95 % confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from sapd_plugin.evaluation.agreement import AGREEMENT, PEOPLE

# Arm -> measure -> one number per image, in the same order in all arms. An arm may lack measures.
Scores = Mapping[str, Mapping[str, Sequence[float]]]
# The least and the largest possible value of a measure. All measures of agreement are fractions.
BOUNDS = {**dict.fromkeys([*AGREEMENT, *PEOPLE, 'coverage'], (0.0, 1.0)), 'masks': (0.0, math.inf)}


def half_width(values: Sequence[float]) -> float:
    """Return half the width of the 95 % confidence interval of a mean (Student's t); NaN for fewer than two values.

    >>> round(half_width([1.0, 2.0, 3.0]), 3)
    2.484
    """
    numbers = np.asarray(values, dtype=np.float64)
    if len(numbers) < 2:
        return float('nan')
    return float(stats.t.ppf(0.975, len(numbers) - 1) * numbers.std(ddof=1) / len(numbers) ** 0.5)


class Interval(NamedTuple):
    """A mean and its 95 % confidence interval."""

    mean: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float], bounds: tuple[float, float] = (-math.inf, math.inf)) -> Interval:
        """Return Student's t interval of the mean over a sample of images; NaN bounds for a single value.

        Args:
            values: one per image.
            bounds: the least and the largest possible value of the measure. The interval ends there, which leaves its
                coverage as it is: the mean cannot lie beyond them.

        >>> [round(number, 3) for number in Interval.of([1.0, 2.0, 3.0])]
        [2.0, -0.484, 4.484]
        >>> [round(number, 3) for number in Interval.of([0.1, 0.9], (0.0, 1.0))]
        [0.5, 0.0, 1.0]
        """
        mean, half = float(np.mean(values)), half_width(values)
        return cls(mean, float(np.maximum(mean - half, bounds[0])), float(np.minimum(mean + half, bounds[1])))

    def text(self, digits: int, sign: str = '') -> str:
        """Return it as ``mean [low, high]``, or without bounds if they are NaN."""
        if np.isnan(self.low):
            return f'{self.mean:{sign}.{digits}f}'
        return f'{self.mean:{sign}.{digits}f} [{self.low:{sign}.{digits}f}, {self.high:{sign}.{digits}f}]'


def _interval(measure: str, values: Sequence[float]) -> Interval:
    return Interval.of(values, BOUNDS.get(measure, (-math.inf, math.inf)))


def difference(scores: Scores, arm: str, base: str, measure: str) -> Interval | None:
    """Return the paired difference of an arm to ``base``; None if one of them lacks the measure, or for ``base``."""
    if arm == base or measure not in scores[arm] or measure not in scores[base]:
        return None
    low, high = BOUNDS.get(measure, (-math.inf, math.inf))
    gaps = np.subtract(scores[arm][measure], scores[base][measure]).tolist()
    return Interval.of(gaps, (low - high, high - low))


def markdown(scores: Scores, base: str, measures: Sequence[str], descriptive: Sequence[str] = ()) -> str:
    """Return two tables: means of each arm, and differences to ``base``; ``descriptive`` measures without intervals."""
    head = ['images of', *measures, *descriptive]
    rows = []
    for arm, columns in scores.items():
        cells = [_interval(m, columns[m]).text(3) if m in columns else '' for m in measures]
        rows.append([arm, *cells, *(f'{np.mean(columns[m]):.2f}' for m in descriptive)])
    lines = markdown_table(head, rows)
    if len(scores) > 1:
        gaps = {arm: [difference(scores, arm, base, m) for m in measures] for arm in scores}
        rows = [
            [arm, *('' if d is None else d.text(3, '+') for d in found)] for arm, found in gaps.items() if any(found)
        ]
        lines += ['', f'Paired differences to {base}:', '', *markdown_table(head[: len(measures) + 1], rows)]
    return '\n'.join(lines)


def markdown_table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    head = list(head)
    return [f'| {" | ".join(map(str, cells))} |' for cells in (head, ['---'] * len(head), *rows)]


def write_csv(path: Path, scores: Scores, base: str) -> None:
    """Write a line per arm and measure: images, mean, bounds; difference to ``base`` and its bounds, or nothing."""
    head = ['arm', 'measure', 'images', 'mean', 'low', 'high', f'minus {base}', 'difference low', 'difference high']
    rows = []
    for arm, columns in scores.items():
        for measure, values in columns.items():
            gap = difference(scores, arm, base, measure) or ('', '', '')
            rows.append([arm, measure, len(values), *_interval(measure, values), *gap])
    _write(path, head, rows)


def write_images_csv(path: Path, scores: Scores, keys: Sequence[str]) -> None:
    """Write a line per image and arm with all its measures."""
    measures = list(dict.fromkeys(m for columns in scores.values() for m in columns))
    rows = [
        [key, arm, *(columns[m][i] if m in columns else '' for m in measures)]
        for i, key in enumerate(keys)
        for arm, columns in scores.items()
    ]
    _write(path, ['image', 'arm', *measures], rows)


def _write(path: Path, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    frame = pd.DataFrame(rows, columns=list(head), dtype=object)
    frame.to_csv(path, index=False, na_rep='nan', lineterminator='\r\n')
