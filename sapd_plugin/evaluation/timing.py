"""What every benchmark shares: rows of a table, and medians of functions timed in turn."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple


class Row(NamedTuple):
    """One line of a benchmark's table."""

    what: str
    value: float
    unit: str


def medians_ms(functions: Sequence[Callable[[], object]], repeats: int, warmup: int = 1) -> list[float]:
    """Median wall time of each function in milliseconds, taken in turn so that a drifting machine hits all alike."""
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(warmup + repeats):
        for function, record in zip(functions, times):
            start = time.perf_counter()
            function()
            if repeat >= warmup:
                record.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(record) for record in times]


def print_table(title: str, rows: Sequence[Row]) -> None:
    """Print rows under a title."""
    print(f'\n{title}')
    for row in rows:
        print(f'  {row.what:<58} {row.value:>12.4g} {row.unit}')
