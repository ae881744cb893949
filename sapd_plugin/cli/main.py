"""The command ``sapd``: it finds a command by name, and imports only that one."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from sapd_plugin import __version__
from sapd_plugin.errors import nearest

# Each command's line in the help. The module with its name in this folder has a ``main(arguments)`` that runs it.
COMMANDS = {
    'extract-masks': 'extract masks of images into a mask store',
    'inspect-masks': 'show and verify a mask store',
    'weights': 'list the SAM and VGG-19 weights, and which were found',
    'prepare-dataset': 'check a download, or synthesize degraded pairs',
    'add': 'add SAM priors to your BasicSR or MMagic config',
    'check': 'check everything that training needs before its first step',
    'quickstart': 'train a stock and a SAPD student in a few minutes',
    'reproduce': 'list, run and report the tables of papers',
    'evaluate-segmentation': 'compare masks of restored images with those of clean ones',
    'evaluate-teacher': 'compare refined and restored images of a BasicSR run',
    'inference-cost': 'parameters, MACs, time and memory of students',
    'compat': 'let BasicSR 1.4.2 be imported with torchvision >= 0.17',
}
# What the extras 'data' and 'experiments' install.
OPTIONAL = ('matplotlib', 'msgspec', 'pandas', 'scipy', 'tabulate')


def find_module(command: str) -> str:
    """Return the name of the module that runs a command."""
    return 'sapd_plugin.compat.__main__' if command == 'compat' else f'sapd_plugin.cli.{command.replace("-", "_")}'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and arguments[0] in COMMANDS:
        try:
            return importlib.import_module(find_module(arguments[0])).main(arguments[1:])
        except ModuleNotFoundError as error:
            if error.name not in OPTIONAL:
                raise
            extra = 'data' if arguments[0] == 'prepare-dataset' else 'experiments'
            missing = f'error: sapd {arguments[0]} needs {error.name}, which is not installed.'
            print(f"{missing} Run: pip install 'sapd_plugin[{extra}]'", file=sys.stderr)
            return 2
    width = max(map(len, COMMANDS)) + 2
    lines = [f'  {name:{width}}{summary}' for name, summary in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog='sapd',
        usage='sapd [--version] COMMAND ...',
        description='SAM priors for image restoration in BasicSR and MMagic.',
        epilog='\n'.join(['commands:', *lines, '', "'sapd COMMAND --help' shows a command's options."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'sapd_plugin {__version__}')
    parser.add_argument('command', metavar='COMMAND', help=argparse.SUPPRESS)
    name = parser.parse_args(arguments[:1]).command
    parser.error(f"found no command '{name}', expected one of {', '.join(COMMANDS)}.{nearest(name, COMMANDS)}")
