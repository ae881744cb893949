"""Let BasicSR 1.4.2 be imported beside torchvision >= 0.17.

BasicSR's ``data/degradations.py`` imports ``torchvision.transforms.functional_tensor``, which torchvision 0.17
renamed to ``_functional_tensor``. :func:`alias_functional_tensor` makes the old name importable in this process.
For commands that do not import this package, such as ``python -m basicsr.train``, ``sapd compat enable`` does so at
the start of every Python process of an environment. No file of either package is changed.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

OLD = 'torchvision.transforms.functional_tensor'
NEW = 'torchvision.transforms._functional_tensor'


class _FunctionalTensorAlias:
    """Finder and loader of the module ``OLD``, which is the module ``NEW`` under its former name."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != OLD:
            return None
        # Not at the top, because `sapd compat enable` imports this module at the start of every process.
        from importlib.util import find_spec

        # A torchvision with neither name gives the usual error, for the old name.
        return ModuleSpec(OLD, _FunctionalTensorAlias) if find_spec(NEW) else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        from importlib import import_module

        # The import system returns this entry after the call, so both names are the same module.
        sys.modules[OLD] = import_module(NEW)


def alias_functional_tensor() -> bool:
    """Make ``torchvision.transforms.functional_tensor`` importable if torchvision has only its new name.

    The finder is the last one, so a torchvision that has the module uses its own. Nothing is imported yet.

    Returns:
        True if this call installed the finder, False if an earlier call did.
    """
    if _FunctionalTensorAlias in sys.meta_path:
        return False
    sys.meta_path.append(_FunctionalTensorAlias)  # type: ignore[arg-type]
    return True
