"""How the preparing tools end."""

from __future__ import annotations

import sys
from collections.abc import Callable

from sapd_plugin.errors import SAPDError


def exit_status(work: Callable[[], None]) -> int:
    """Do the work; return 0, or 2 for a mistake and 130 where it was stopped, and say so on standard error."""
    try:
        work()
    except KeyboardInterrupt:
        print('Stopped. What was written is whole; run the same command again to go on.', file=sys.stderr)
        return 130
    except (SAPDError, OSError) as error:
        print(f'error: {error}', file=sys.stderr)
        return 2
    return 0
