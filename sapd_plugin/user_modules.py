"""Modules of a user's own package that a command imports first: they register networks, models or data sets."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.errors import SAPDError


def add_import_option(parser: argparse.ArgumentParser) -> None:
    """Add --import."""
    parser.add_argument(
        '--import',
        action='append',
        default=[],
        dest='imports',
        metavar='MODULE',
        help='import a module first that registers networks, models or data sets of your own; may be repeated',
    )


def import_modules(names: Sequence[str]) -> None:
    """Import the modules of --import, and let configs import what is in the working folder, as `python -m` does.

    They are imported before the adapters, so that a network of the user's keeps its name if one of ours has it, too.

    Raises:
        SAPDError: there is no such module, or it cannot be imported.
    """
    folder = str(Path.cwd())
    if folder not in sys.path and '' not in sys.path:
        sys.path.insert(0, folder)
    if names:
        alias_functional_tensor()
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:  # it is code of the user's
            absent = isinstance(error, ModuleNotFoundError) and error.name in (name, name.partition('.')[0])
            if not absent and not isinstance(error, (TypeError, ValueError)):
                reason = ' '.join(str(error).split())[:500]
                raise SAPDError(f'--import: {name} cannot be imported: {type(error).__name__}: {reason}') from error
            hint = f' Write it as {module_name(name)}.' if '/' in name or name.endswith('.py') else ''
            raise SAPDError(
                f"--import: found no module '{name}', expected the name of one in {folder} or installed.{hint}"
            ) from error


def module_name(path: str) -> str:
    """Return the name of a module from the path of its file.

    >>> module_name('./my_package/archs.py')
    'my_package.archs'
    """
    return '.'.join(part for part in Path(path.removesuffix('.py')).parts if part not in ('/', '.', '..'))
