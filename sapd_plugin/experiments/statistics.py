"""Means over seeds with their confidence intervals, and differences paired by seed."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from scipy.stats import t

CONFIDENCE = 0.95
Key = TypeVar('Key', int, str)


@dataclass(frozen=True)
class Estimate:
    """A mean of ``count`` values and the half width of its 95 % confidence interval (Student's t); None for one."""

    mean: float
    half: float | None
    count: int


def estimate(values: Sequence[float]) -> Estimate | None:
    """Estimate a mean; None for no values.

    >>> estimate([1.0, 2.0, 3.0])
    Estimate(mean=2.0, half=2.4841377118437524, count=3)
    """
    count = len(values)
    if count == 0:
        return None
    half = None
    if count > 1:
        half = float(t.ppf((1 + CONFIDENCE) / 2, count - 1)) * statistics.stdev(values) / count**0.5
    return Estimate(statistics.fmean(values), half, count)


def paired(values: Mapping[Key, float], base: Mapping[Key, float]) -> Estimate | None:
    """Estimate the mean of values less base over the seeds, or images, that both have."""
    return estimate([values[key] - base[key] for key in sorted(values.keys() & base.keys())])
