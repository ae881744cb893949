"""Memory of this process, as Linux counts it."""

from __future__ import annotations

import contextlib
from pathlib import Path


def resident(field: str) -> int:
    """Memory of this process in bytes: 'VmRSS' now, or 'VmHWM' at its peak.

    ``getrusage`` would not do: its peak begins at that of the process which started this one.
    """
    lines = Path('/proc/self/status').read_text(encoding='ascii').splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field + ':'))


def forget_peak() -> None:
    """Let the peak begin anew at the present size, where the system lets a process do so (proc(5), clear_refs)."""
    with contextlib.suppress(OSError):
        Path('/proc/self/clear_refs').write_text('5', encoding='ascii')
