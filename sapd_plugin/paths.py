"""The folder of the shipped configs."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def configs() -> Path:
    """Return the folder of the ``basicsr``, ``mmagic`` and ``tables`` configs.

    A wheel has it as ``sapd_plugin/.mim/configs``, where MMagic has its own; a clone has it at its root.
    """
    shipped = _PACKAGE / '.mim' / 'configs'
    return shipped if shipped.is_dir() else _PACKAGE.parent / 'configs'
