"""Wall times of functions that are compared with each other."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence


def medians_ms(functions: Sequence[Callable[[], object]], repeats: int, warmup: int = 1) -> list[float]:
    """Return the median wall time of each function in milliseconds.

    The functions are called in turn, so that a change of the machine's speed affects all of them.
    """
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(warmup + repeats):
        for function, record in zip(functions, times):
            start = time.perf_counter()
            function()
            if repeat >= warmup:
                record.append((time.perf_counter() - start) * 1e3)
    return [statistics.median(record) for record in times]
