"""Progress of a training, reported in a file to the process that started it."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

VARIABLE = 'SAPD_PROGRESS_FILE'
_INTERVAL = 0.5  # seconds between two writes


class ProgressFile:
    """A file that holds the number of finished iterations, written at most every half second."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._written = 0.0

    @classmethod
    def from_environment(cls) -> ProgressFile | None:
        """Return the file that $SAPD_PROGRESS_FILE names, or None if it is not set."""
        path = os.environ.get(VARIABLE)
        return cls(Path(path)) if path else None

    def write(self, iteration: int) -> None:
        """Write the number of finished iterations; a file that cannot be written does not stop the training."""
        now = time.monotonic()
        if now - self._written >= _INTERVAL:
            self._written = now
            with contextlib.suppress(OSError):
                self.path.write_text(str(iteration), encoding='utf-8')


def read_progress(path: Path) -> int | None:
    """Return the number of finished iterations, or None if nothing has been written yet."""
    try:
        return int(path.read_text(encoding='utf-8'))
    except (OSError, ValueError):
        return None
