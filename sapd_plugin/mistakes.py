"""The end of a training or a test that a user's mistake or Ctrl-C has stopped: one line instead of a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sapd_plugin.errors import SAPDError

MISTAKE, INTERRUPTED = 2, 130  # exit statuses, as of the commands


@contextmanager
def told_in_one_line(resume: str = '') -> Iterator[None]:
    """Print a :class:`SAPDError` of the block as ``error: ...``, the last line, and exit with status 2.

    After Ctrl-C, print how to resume, and exit with status 130. ``resume`` is the option of the command that does so;
    it is empty for a command that cannot.
    """
    try:
        yield
    except SAPDError as error:
        sys.stdout.flush()
        print(f'error: {_text(error)}', file=sys.stderr, flush=True)
        sys.exit(MISTAKE)
    except KeyboardInterrupt:
        sys.stdout.flush()
        hint = f' To resume from the last saved state, if there is one, add {resume}.' if resume else ''
        print(f'Interrupted.{hint}', file=sys.stderr, flush=True)
        sys.exit(INTERRUPTED)


def _text(error: SAPDError) -> str:
    """Return the message; where a worker of a data loader raised it, without the worker's traceback around it."""
    name = f'{SAPDError.__module__}.{SAPDError.__qualname__}: '
    return ' '.join(str(error).rpartition(name)[2].split())
