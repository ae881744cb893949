"""Tasks, and the runner that shares them with other processes of the same command: a task is locked while it runs."""

from __future__ import annotations

import os
import re
import shlex
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ModuleNotFoundError:  # Windows: the work cannot be shared
    fcntl = None  # type: ignore[assignment]

WAIT = 2.0  # seconds after which tasks that other processes work on are looked at again


class Task(ABC):
    """Something to do once.

    Args:
        title: what a user reads; unique in ``folder``.
        folder: working folder; made when needed.
    """

    def __init__(self, title: str, folder: Path) -> None:
        self.title, self.folder = title, folder
        name = re.sub(r'[^\w.-]+', '_', title)
        self.lock = folder / f'.{name}.lock'  # the file that is locked; no other task has the same

    @abstractmethod
    def done(self) -> bool:
        """Whether nothing is left to do."""

    def command(self) -> Sequence[str] | None:
        """Return the command that does it, as a user would run it; None where there is none."""
        return None

    @abstractmethod
    def work(self) -> None:
        """Do it.

        Raises:
            SAPDError: it failed, or its files cannot be written.
        """

    def show(self) -> str:
        """Return the task as lines for a dry run."""
        if self.done():
            return f'# {self.title}: done'
        command = self.command()
        if command is None:
            return f'# {self.title}: no command'
        return f'# {self.title}\n(cd {shlex.quote(str(self.folder))} && {shlex.join(command)})'

    def run(self) -> None:
        """Do it, unless it is done."""
        if not self.done():
            self.folder.mkdir(parents=True, exist_ok=True)
            self.work()
        print(f'{self.title}: done', flush=True)


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
            _advance(chain, done)
        moved = lengths != [len(chain) for chain in waiting]
        waiting = [chain for chain in waiting if chain]
        if waiting and not moved:
            time.sleep(WAIT)


def _advance(chain: list[Task], done: set[Path]) -> None:
    """Run a chain's tasks up to the first one that another process works on; those that are done leave the chain."""
    while chain:
        task = chain[0]
        if task.lock not in done:
            with locked(task) as mine:
                if not mine:
                    return
                task.run()
            done.add(task.lock)
        chain.pop(0)


@contextmanager
def locked(task: Task) -> Iterator[bool]:
    """Yield whether this process has locked the task.

    The lock ends with the process and with the command that it has started: where the process is killed and its command
    keeps running, nobody else begins the same task.
    """
    task.folder.mkdir(parents=True, exist_ok=True)
    if fcntl is None:
        yield True
        return
    with task.lock.open('w') as file:
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


def unique(chains: Iterable[Iterable[Task]]) -> Iterable[Task]:
    """Return the tasks of the chains, each once."""
    return {task.lock: task for chain in chains for task in chain}.values()
