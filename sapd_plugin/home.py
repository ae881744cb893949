"""Paths that begin with ``~``."""

from __future__ import annotations

import os
from pathlib import Path


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return a path with the home folder in place of a leading ``~`` or ``~user``.

    As in a shell, the path of a user that does not exist is kept, so that it is named where it is not found.
    ``Path.expanduser`` raises RuntimeError then.

    >>> expanded('~/masks') == Path.home() / 'masks', str(expanded('~no-such-user/masks'))
    (True, '~no-such-user/masks')
    """
    return Path(os.path.expanduser(path))
