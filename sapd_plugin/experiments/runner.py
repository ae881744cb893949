"""Tasks and their commands, shared with other processes that run the same tables: a task is locked while it runs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from sapd_plugin.errors import SAPDError
from sapd_plugin.progress import VARIABLE, Bar, read_progress

try:
    import fcntl
except ModuleNotFoundError:  # Windows: the work cannot be shared
    fcntl = None  # type: ignore[assignment]

WAIT = 2.0  # seconds between checks of tasks that other processes run
_INTERVAL = 0.5  # seconds between checks of the progress
_LINES = 25  # last lines of the output, shown in the message of a failure


class Task(ABC):
    """A task that is run once.

    Args:
        title: text for users; unique in ``folder``.
        folder: working folder; it is made before ``work`` is called.
    """

    def __init__(self, title: str, folder: Path) -> None:
        self.title, self.folder = title, folder
        name = re.sub(r'[^\w.-]+', '_', title)
        self.lock = folder / f'.{name}.lock'  # the file that is locked; unique to the task

    @abstractmethod
    def done(self) -> bool:
        """Return whether nothing is left to do."""

    def kept(self) -> object:
        """Return a value that changes when the task keeps work that the same command, rerun, would not do again."""
        return self.done()

    def command(self) -> Sequence[str] | None:
        """Return the task's command as a user would run it, or None if it has no command."""
        return None

    @abstractmethod
    def work(self) -> None:
        """Run the task in its existing folder; raise SAPDError if it fails."""

    def show(self) -> str:
        """Return the lines that a dry run prints for the task."""
        if self.done():
            return f'# {self.title}: done'
        command = self.command()
        if command is None:
            return f'# {self.title}: no command'
        return f'# {self.title}\n(cd {shlex.quote(str(self.folder))} && {shlex.join(command)})'


def run_chains(chains: Iterable[Iterable[Task]]) -> None:
    """Run every task once, here or in another process that works below the same folder.

    Args:
        chains: for each cell, its tasks, each after those that it depends on; a task may be in several chains.

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
    """Run a chain's tasks up to the first one that another process runs; remove finished tasks from the chain."""
    while chain:
        task = chain[0]
        if task.lock not in done:
            with locked(task) as mine:
                if not mine:
                    return
                if not task.done():
                    task.work()
                print(f'{task.title}: done', flush=True)
            done.add(task.lock)
        chain.pop(0)


@contextmanager
def locked(task: Task) -> Iterator[bool]:
    """Yield whether this process has locked the task.

    The command that this process starts shares the lock: if this process is killed and its command keeps running, no
    other process starts the same task.
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


def runs_elsewhere(task: Task) -> bool:
    """Return whether another process, or a command that has outlived it, runs the task."""
    if not task.lock.is_file():
        return False
    with locked(task) as mine:
        return not mine


def execute(
    command: Sequence[str],
    folder: Path,
    log: Path,
    title: str,
    total: int,
    unit: str = 'it',
    progress: Callable[[], int | None] | None = None,
) -> str:
    """Run a command and wait until it ends.

    Args:
        command: program and arguments.
        folder: working folder.
        log: file that both streams of the output are appended to.
        title: title of the progress bar.
        total: total count, for the bar.
        unit: unit of the count.
        progress: returns the current count; None means that the command writes it to ``$SAPD_PROGRESS_FILE``.

    Returns:
        The output.

    Raises:
        SAPDError: the command failed; the end of its output is in the message.
    """
    file = log.with_name(f'.{log.name}.progress')
    file.unlink(missing_ok=True)
    with log.open('ab') as output, Bar(total=total, unit=unit, desc=title) as bar:
        begin = output.tell()
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, VARIABLE: str(file)},
            close_fds=False,  # the command inherits the task's lock
        )
        try:
            while process.poll() is None:
                try:
                    process.wait(_INTERVAL)
                except subprocess.TimeoutExpired:
                    count = read_progress(file) if progress is None else progress()
                    bar.reach(count or 0)
            if process.returncode == 0:
                bar.update(total - bar.n)
        except BaseException:
            process.terminate()
            raise
        finally:
            process.wait()
            file.unlink(missing_ok=True)
    text = log.read_bytes()[begin:].decode('utf-8', errors='backslashreplace')
    if process.returncode:
        end = '\n'.join(text.splitlines()[-_LINES:])
        raise SAPDError(f'{shlex.join(command)} failed:\n{end}')
    return text
