"""Files that are either complete or absent, even if the process is killed."""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from tqdm.contrib.concurrent import thread_map

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store.locks import BusyError, locked
from sapd_plugin.progress import Bar

PNG_COMPRESSION = 3

Job = TypeVar('Job')
Result = TypeVar('Result')


class Workshop:
    """A hidden folder in which files are written before they are moved to their place."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: str) -> Path:
        """Return the path of a file to make; each thread has its own."""
        return self._folder / f'{threading.get_ident()}-{name}'

    def write(self, path: Path, data: bytes) -> None:
        """Write a file atomically."""
        temporary = self.path(path.name)
        temporary.write_bytes(data)
        os.replace(temporary, path)

    def write_text(self, path: Path, text: str) -> None:
        """Write a text file atomically, unless it already holds that text."""
        if not (path.is_file() and path.read_bytes() == text.encode('utf-8')):
            self.write(path, text.encode('utf-8'))

    def write_image(self, path: Path, image: np.ndarray) -> None:
        """Write (H,W,3) uint8 RGB atomically, in the format of the path's suffix."""
        settings = [cv2.IMWRITE_PNG_COMPRESSION, PNG_COMPRESSION] if path.suffix == '.png' else []
        self.write(path, cv2.imencode(path.suffix, np.ascontiguousarray(image[..., ::-1]), settings)[1].tobytes())

    def copy(self, source: Path, path: Path) -> None:
        """Copy a file with its modification time, atomically."""
        temporary = self.path(path.name)
        shutil.copy2(source, temporary)
        os.replace(temporary, path)

    def link(self, source: Path, path: Path, hard: bool) -> None:
        """Link to a file."""
        try:
            (os.link if hard else os.symlink)(source, path)
        except OSError as error:
            advice = 'expected a file system that supports it; --copy copies instead.'
            raise SAPDError(f'{path}: cannot be linked to {source} ({error.strerror}), {advice}') from error


@contextlib.contextmanager
def open_workshop(dataset: Path) -> Iterator[Workshop]:
    """Lock the folder of a dataset, and remove unfinished files of a killed run.

    Raises:
        SAPDError: another process is preparing it.
    """
    dataset.mkdir(parents=True, exist_ok=True)
    folder = dataset / '.unfinished'
    try:
        with locked(dataset / '.lock', dataset):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            yield Workshop(folder)
            shutil.rmtree(folder)
    except BusyError as error:
        raise SAPDError(f'{dataset}: another process is preparing this dataset, expected one at a time.') from error


def run_jobs(function: Callable[[Job], Result], jobs: Sequence[Job], workers: int, label: str) -> list[Result]:
    """Call ``function(job)`` for each job on a pool of threads; the first error stops the rest.

    Threads suffice, because decoding and encoding images releases the GIL.
    """
    return thread_map(function, jobs, max_workers=workers, desc=label, unit='image', disable=not jobs, tqdm_class=Bar)
