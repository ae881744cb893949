"""Many small jobs on a pool of threads, with a progress bar."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from tqdm import tqdm

Job = TypeVar('Job')
Result = TypeVar('Result')


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, label: str) -> list[Result]:
    """Call ``function(job)`` for each job and return the results in the order of the jobs.

    Threads suffice, because decoding and encoding images releases the GIL, and they end with their process. The first
    error stops the rest.
    """
    results: dict[int, Result] = {}
    bar = tqdm(total=len(jobs), desc=label, unit='image', disable=not jobs, mininterval=0.5)
    with bar, ThreadPoolExecutor(max_workers=workers) as pool:
        waiting = {pool.submit(function, job): index for index, job in enumerate(jobs)}
        try:
            for done in as_completed(waiting):
                results[waiting[done]] = done.result()
                bar.update()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise
    return [results[index] for index in range(len(jobs))]
