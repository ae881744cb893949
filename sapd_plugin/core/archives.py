"""Files of ``torch.save`` that a kill or a full disk cut short."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from sapd_plugin.files import draft_of

# Since 2.6, torch.load creates objects of trusted classes only unless it is told otherwise, and trusts by name.
LOADS_TRUSTED_ONLY = tuple(int(part) for part in torch.__version__.split('.')[:2]) >= (2, 6)
# A file of torch.save before 1.6, which has no list of contents at its end.
_LEGACY = b'\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.'


def is_whole(path: str | os.PathLike[str]) -> bool:
    """Return whether a file was written by ``torch.save`` to its end; its tensors are not read."""
    try:
        with zipfile.ZipFile(path):  # its list of contents is written last
            return True
    except zipfile.BadZipFile:
        return _is_whole_legacy(Path(path))
    except OSError:
        return False


def atomic(save: Callable[..., None]) -> Callable[..., None]:
    """Return a ``torch.save`` whose files are complete or unchanged, even after a crash or a power failure.

    A file that cannot be written raises OSError.
    """

    def save_atomically(obj: Any, f: Any, *args: Any, **kwargs: Any) -> None:
        if not isinstance(f, (str, os.PathLike)):
            return save(obj, f, *args, **kwargs)
        with draft_of(Path(f).resolve()) as file:
            try:
                save(obj, file, *args, **kwargs)
            except RuntimeError as error:  # torch's own, while it ends a file that could not be written
                if isinstance(error.__context__, OSError):
                    raise error.__context__ from None
                raise

    return save_atomically


def _is_whole_legacy(path: Path) -> bool:
    with path.open('rb') as file:
        if file.read(len(_LEGACY)) != _LEGACY:
            return False
    try:
        torch.load(path, map_location='cpu', weights_only=True)
    except Exception:  # whatever a file that is cut short makes it raise
        return False
    return True
