"""Progress: a bar for people, and a file in which a command reports to the process that started it."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

VARIABLE = 'SAPD_PROGRESS_FILE'
_INTERVAL = 0.5  # seconds between two writes of the file
_LONGEST = 30.0  # seconds between two lines of a bar in a log


class Bar(tqdm):
    """A progress bar on stderr: title, count, total, elapsed time, time left and rate.

    On a terminal, it moves five times per second. In a log, where each refresh is a line of its own, the first lines
    come after 0, 1, 3, 7, ... seconds, and later ones every half minute.

    Args:
        *arguments, **settings: those of :class:`tqdm.tqdm`; ``leave=False`` removes a finished bar from a terminal.
    """

    n: float
    mininterval: float

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        stream: TextIO = settings.pop('file', sys.stderr)
        self._in_log, self._begun = not stream.isatty(), False
        if self._in_log:
            settings.update(file=_Lines(stream), mininterval=1.0, position=0, leave=True)
        else:
            settings.update(file=stream, mininterval=0.2)
        # With one iteration as the least step, the time alone decides when the bar moves.
        super().__init__(*arguments, **{'miniters': 1, 'dynamic_ncols': not self._in_log, **settings})

    def __iter__(self) -> Iterator[Any]:
        """Yield the items; unlike tqdm's own, this loop follows a ``mininterval`` that changes."""
        try:
            for item in self.iterable:
                yield item
                self.update()
        finally:
            self.close()

    def update(self, n: float | None = 1) -> bool | None:
        """Add to the count. Returns True if the bar moved."""
        moved = super().update(n)
        if moved and self._in_log:
            self.mininterval = min(2 * self.mininterval, _LONGEST)
        return moved

    def reach(self, count: float) -> None:
        """Set the count, which does not fall.

        Rate and time left are those since the first count, so that neither the start of a program nor what a resumed
        one had finished before are part of them.
        """
        if not self._begun and not self.disable and count > self.n:
            self._begun, self.initial, self.n, self.last_print_n = True, count, count, count
            self.start_t = self.last_print_t = self._time()
            self.refresh()
        else:
            self.update(max(count - self.n, 0))

    def say(self, what: str) -> None:
        """Show the current step, one that may take seconds, behind the count; in a log, this is another line."""
        self.set_postfix_str(what)

    def print(self, text: str) -> None:
        """Print a line on stdout, above the bar of a terminal."""
        if self._in_log or self.disable:
            print(text, flush=True)
            return
        self.clear()
        print(text, flush=True)
        self.refresh()

    def extend(self, steps: int) -> None:
        """Add to the total, once it is known how many steps are left."""
        self.total += steps

    def moveto(self, n: int) -> None:
        """Move to the line of another bar, which a log does not have."""
        if not self._in_log:
            super().moveto(n)


class _Lines:
    """A text stream that writes each state of a bar as a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._last = stream, ''
        self.encoding = getattr(stream, 'encoding', None)

    def write(self, text: str) -> None:
        text = text.strip('\r\n ')
        if text not in ('', self._last):
            self._stream.write(f'{text}\n')
            self._last = text

    def flush(self) -> None:
        self._stream.flush()


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
