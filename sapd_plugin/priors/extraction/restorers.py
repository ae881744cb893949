"""Build and try out the student that restores images before mask extraction (``--restored-by``)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

from sapd_plugin.errors import SAPDError

R = TypeVar('R', bound=Callable[[np.ndarray], np.ndarray])


def open_restorer(build: Callable[[], R], config: Path, checkpoint: Path) -> R:
    """Build a restorer and run it on a black image of 64x64 pixels, to find mistakes at once.

    Raises:
        SAPDError: the file does not exist, or the student does not restore an image.
    """
    if not checkpoint.is_file():
        raise SAPDError(f"--restored-by: found no file {checkpoint}, expected the student's weights.")
    try:
        restorer = build()
        restorer(np.zeros((64, 64, 3), np.uint8))
    except SAPDError as error:
        raise SAPDError(f'--restored-by: {error}') from error
    except Exception as error:
        reason = ' '.join(str(error).split())
        raise SAPDError(
            f'--restored-by: the student of {config} with {checkpoint} does not restore an image: '
            f'{type(error).__name__}: {reason[:500]}. Expected the config that the checkpoint was trained with.'
        ) from error
    return restorer
