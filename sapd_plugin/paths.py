"""Where the shipped configs are: in a clone or, for an installed wheel, in the package's ``.mim`` folder."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def configs() -> Path:
    """Return the folder of ``basicsr``, ``mmagic`` and ``tables`` configs.

    The wheel carries it as ``sapd_plugin/.mim/configs``, as MMagic carries its own; a clone has it at its root.
    """
    shipped = _PACKAGE / '.mim' / 'configs'
    return shipped if shipped.is_dir() else _PACKAGE.parent / 'configs'
