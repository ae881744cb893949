"""One command of a plan: what it is for, whether it is done, how it is run and shown."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from sapd_plugin.experiments.commands import output_lines


@dataclass(frozen=True)
class Task:
    """A command to run once.

    Attributes:
        title: what a user reads.
        folder: working folder; made when needed.
        done: whether nothing is left to do.
        command: called when the task's turn has come, so that it can see what is there already; None: ``prepare`` is
            all there is to do.
        prepare: writes the files that the command reads.
        finish: gets the whole output, and keeps what was measured.
        stopped: gets the seconds that the command ran, also when it failed or was interrupted.
        log: file for the output.
        total: iterations, for the progress bar; None: read out of the output.
        progress: reads what is done, and the total where it is told, out of a line of output.
        unit: of both.
    """

    title: str
    folder: Path
    done: Callable[[], bool]
    command: Callable[[], Sequence[str]] | None = None
    prepare: Callable[[], None] = lambda: None
    finish: Callable[[str], None] = lambda output: None
    stopped: Callable[[float], None] = lambda seconds: None
    log: Path | None = None
    total: int | None = None
    progress: Callable[[str], tuple[int, int | None] | None] = lambda line: None
    unit: str = 'it'

    def show(self) -> str:
        """The task as a line for a dry run."""
        if self.done():
            return f'# {self.title}: done'
        if self.command is None:
            return f'# {self.title}: no command'
        return f'# {self.title}\n(cd {shlex.quote(str(self.folder))} && {shlex.join(self.command())})'

    def run(self) -> None:
        """Run the command, unless it is done.

        Raises:
            SAPDError: it failed, or its files cannot be written.
        """
        if self.done():
            print(f'{self.title}: done', flush=True)
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self.prepare()
        if self.command is None:
            print(f'{self.title}: done', flush=True)
            return
        output = []
        with tqdm(total=self.total, unit=self.unit, desc=self.title, mininterval=1) as bar:
            try:
                for line in output_lines(self.command(), self.folder, self.log):
                    output.append(line)
                    found = self.progress(line)
                    if found is not None:
                        bar.total = self.total or found[1]
                        bar.update(found[0] - bar.n)
            finally:
                self.stopped(bar.format_dict['elapsed'])
        self.finish(''.join(output))
