"""Commands as a user runs them, read line by line while they run."""

from __future__ import annotations

import shlex
import subprocess
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from sapd_plugin.errors import SAPDError


def output_lines(command: Sequence[str], folder: Path, log: Path | None = None) -> Iterator[str]:
    """Yield what a command prints, both streams, line by line.

    Args:
        command: program and arguments.
        folder: working folder.
        log: file to which the output is appended, too.

    Raises:
        SAPDError: the command failed; the end of its output is in the message.
    """
    process = subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors='backslashreplace',
        close_fds=False,  # what was made inheritable, a task's lock, is the command's as well
    )
    last: deque[str] = deque(maxlen=25)
    assert process.stdout is not None
    file = log.open('a', buffering=1, encoding='utf-8') if log is not None else None
    try:
        for line in process.stdout:
            last.append(line)
            if file is not None:
                file.write(line)
            yield line
    except BaseException:
        process.terminate()
        raise
    finally:
        process.wait()
        if file is not None:
            file.close()
    if process.returncode:
        raise SAPDError(f'{shlex.join(command)} failed:\n{"".join(last)}')
