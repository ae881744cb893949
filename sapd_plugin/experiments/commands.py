"""Commands as a user runs them, with a progress bar; their output goes to a log file."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from tqdm import tqdm

from sapd_plugin.errors import SAPDError
from sapd_plugin.progress import VARIABLE, read_progress

_INTERVAL = 0.5  # seconds between two looks at the progress
_LINES = 25  # of the end of the output, in the message of a failure


def execute(
    command: Sequence[str],
    folder: Path,
    log: Path,
    title: str,
    total: int | None = None,
    unit: str = 'it',
    progress: Callable[[], int | None] | None = None,
) -> str:
    """Run a command to its end.

    Args:
        command: program and arguments.
        folder: working folder.
        log: file that both streams of the output are appended to.
        title: of the progress bar.
        total: of what there is to do, for the bar; None: not known.
        unit: of what is counted.
        progress: returns how much is done; None: what the command writes to ``$SAPD_PROGRESS_FILE``.

    Returns:
        The output.

    Raises:
        SAPDError: the command failed; the end of its output is in the message.
    """
    file = log.with_name(f'.{log.name}.progress')
    file.unlink(missing_ok=True)
    with log.open('ab') as output, tqdm(total=total, unit=unit, desc=title, mininterval=1) as bar:
        begin = output.tell()
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, VARIABLE: str(file)},
            close_fds=False,  # what was made inheritable, a task's lock, is the command's as well
        )
        try:
            while process.poll() is None:
                try:
                    process.wait(_INTERVAL)
                except subprocess.TimeoutExpired:
                    count = read_progress(file) if progress is None else progress()
                    bar.update((count or bar.n) - bar.n)
            if process.returncode == 0 and total is not None:
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
