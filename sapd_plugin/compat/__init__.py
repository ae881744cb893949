"""Let BasicSR 1.4.2 be imported beside torchvision >= 0.17. Standard library only.

BasicSR's ``data/degradations.py`` imports ``torchvision.transforms.functional_tensor``, which torchvision 0.17
renamed to ``_functional_tensor``. :func:`alias_functional_tensor` makes the old name resolve again in this process.
For commands that know nothing of this package, such as ``python -m basicsr.train``, the command
``sapd compat enable`` does so at the start of every process of one environment. No file of either
package is touched.
"""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

OLD = 'torchvision.transforms.functional_tensor'
NEW = 'torchvision.transforms._functional_tensor'


class _FunctionalTensorAlias:
    """Finder and loader of the one module ``OLD``: it is the module ``NEW`` under its former name."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if name != OLD:
            return None
        # Not at the top: this module is imported at the start of every process where the step is enabled.
        from importlib.util import find_spec

        # A torchvision without the new name either gets the usual error, for the old name.
        return ModuleSpec(OLD, _FunctionalTensorAlias) if find_spec(NEW) else None  # type: ignore[arg-type]

    @staticmethod
    def create_module(spec: ModuleSpec) -> None:
        return None

    @staticmethod
    def exec_module(module: ModuleType) -> None:
        from importlib import import_module

        # The import system hands out what stands here after this call: one module under two names, not a copy of it.
        sys.modules[OLD] = import_module(NEW)


def alias_functional_tensor() -> bool:
    """Serve ``torchvision.transforms.functional_tensor`` from its new name where torchvision lacks the old one.

    The finder comes last, so a torchvision that has the module keeps its own. Imports nothing, and may be called any
    number of times.

    Returns:
        True if this call installed the finder, False if an earlier one had.
    """
    if _FunctionalTensorAlias in sys.meta_path:
        return False
    sys.meta_path.append(_FunctionalTensorAlias)  # type: ignore[arg-type]
    return True
