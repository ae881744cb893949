"""Runs the tasks of many cells, shared with other runs of the same command: a task belongs to the one that locks it."""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sapd_plugin.experiments.tasks import Task

WAIT = 2.0
"""Seconds after which tasks that others are at work on are looked at again."""


def run_chains(chains: Iterable[Iterable[Task]]) -> None:
    """Run every task once, here or in another process that works below the same folder.

    Args:
        chains: for each cell its tasks, each after those that it needs; a task may be in several chains.

    Raises:
        SAPDError: a task failed.
    """
    waiting = [list(chain) for chain in chains]
    done: set[Path] = set()
    while waiting:
        lengths = [len(chain) for chain in waiting]
        for chain in waiting:
            _go_on(chain, done)
        moved = lengths != [len(chain) for chain in waiting]
        waiting = [chain for chain in waiting if chain]
        if waiting and not moved:
            time.sleep(WAIT)


def _go_on(chain: list[Task], done: set[Path]) -> None:
    """Run a chain's tasks up to the first one that somebody else is at work on; those that are done leave it."""
    while chain:
        task = chain[0]
        if lock_file(task) not in done:
            with locked(task) as mine:
                if not mine:
                    return
                task.run()
            done.add(lock_file(task))
        chain.pop(0)


@contextmanager
def locked(task: Task) -> Iterator[bool]:
    """Give whether the task is this process's.

    The lock goes with the process and the command that it has started: where the process is killed and its command goes
    on, nobody else begins beside it.
    """
    path = lock_file(task)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open('w') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        os.set_inheritable(file.fileno(), True)
        try:
            yield True
        finally:
            fcntl.flock(file, fcntl.LOCK_UN)


def lock_file(task: Task) -> Path:
    """The file that is locked, which no other task has."""
    name = re.sub(r'[^\w.-]+', '_', task.title)
    return task.folder / f'.{name}.lock'


def unique(chains: Sequence[Iterable[Task]]) -> Iterator[Task]:
    """Yield the chains' tasks, each once."""
    seen: set[Path] = set()
    for chain in chains:
        for task in chain:
            if lock_file(task) not in seen:
                seen.add(lock_file(task))
                yield task
