"""Forks of a process that has imported everything, to be killed at random moments."""

from __future__ import annotations

import os
import threading

from tqdm import tqdm

from sapd_plugin.progress import Bar


def fork() -> int:
    """Fork as :func:`os.fork`, with locks for progress bars of the child's own.

    tqdm's lock is a semaphore that all forks of a process share. One that is killed while it writes its bar never
    releases it, and its siblings, and this process, would wait for ever.
    """
    process = os.fork()
    if process == 0:
        for bar in (tqdm, Bar):
            bar.set_lock(threading.RLock())
    return process
