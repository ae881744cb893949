"""The frameworks' sides of the tables, imported when they are asked for."""

from __future__ import annotations

import importlib

from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.experiments.framework import Framework

SIDES = {
    'basicsr': ('sapd_plugin.experiments.basicsr', 'BasicSR'),
    'mmagic': ('sapd_plugin.experiments.mmagic', 'MMagic'),
}


def load_framework(name: str) -> Framework:
    """Import a framework's side of the tables.

    Raises:
        SAPDError: no such framework, or one that is not installed.
    """
    check_choice('--framework', name, SIDES)
    module, side = SIDES[name]
    try:
        return getattr(importlib.import_module(module), side)()
    except ModuleNotFoundError as error:
        raise SAPDError(f'--framework: {name} cannot be imported here: {error}.') from error
