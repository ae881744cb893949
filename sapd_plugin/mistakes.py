"""The end of a training that a user's mistake has stopped: one line instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sapd_plugin.errors import SAPDError

MISTAKE = 2  # exit status, as of the commands


@contextmanager
def told_in_one_line() -> Iterator[None]:
    """Print a :class:`SAPDError` of the block as ``error: ...``, the last line, and exit with status 2."""
    try:
        yield
    except SAPDError as error:
        sys.stdout.flush()
        print(f'error: {_text(error)}', file=sys.stderr, flush=True)
        sys.exit(MISTAKE)


def _text(error: SAPDError) -> str:
    """Return the message; where a worker of a data loader raised it, without the worker's traceback around it."""
    name = f'{SAPDError.__module__}.{SAPDError.__qualname__}: '
    return ' '.join(str(error).rpartition(name)[2].split())
