"""The end of a training or a test that a user's mistake or Ctrl-C has stopped: one line instead of a traceback."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from sapd_plugin.errors import SAPDError

MISTAKE, INTERRUPTED = 2, 130  # exit statuses, as of the commands


@contextmanager
def told_in_one_line(resume: str = '') -> Iterator[None]:
    """Print a :class:`SAPDError` of the block as ``error: ...``, the last line, and exit with status 2.

    After Ctrl-C or SIGTERM, print how to resume, and exit with status 130. ``resume`` is the option of the command that
    does so; it is empty for a command that cannot.
    """
    try:
        with interruptible():
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


@contextmanager
def interruptible() -> Iterator[None]:
    """Let SIGTERM, which clusters and torchrun send, and SIGINT raise KeyboardInterrupt.

    By itself, SIGTERM ends a process at once. A training's workers, which load its data, are then left behind, and may
    wait for ever. A shell starts its background jobs with SIGINT ignored, and Python keeps that.
    """

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before: dict[signal.Signals, Any] = {}
    with suppress(ValueError):  # handlers can only be set in the main thread
        before[signal.SIGTERM] = signal.signal(signal.SIGTERM, interrupt)
        if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
            before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _text(error: SAPDError) -> str:
    """Return the message; where a worker of a data loader raised it, without the worker's traceback around it."""
    name = f'{SAPDError.__module__}.{SAPDError.__qualname__}: '
    return ' '.join(str(error).rpartition(name)[2].split())
