"""The command ``sapd``: it finds the command that is named, and imports that one alone."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import NamedTuple

from sapd_plugin import __version__
from sapd_plugin.errors import nearest


class Command(NamedTuple):
    """One command: the module whose ``main(arguments)`` runs it, and its line in the help."""

    module: str
    summary: str


COMMANDS = {
    'extract-masks': Command('sapd_plugin.cli.extract_masks', 'extract masks of images into a mask store'),
    'inspect-masks': Command('sapd_plugin.cli.inspect_masks', 'show and verify a mask store'),
    'weights': Command('sapd_plugin.cli.weights', 'list the SAM and VGG-19 weights, and which are found'),
    'prepare-dataset': Command('sapd_plugin.cli.prepare_dataset', 'check a download, or synthesize degraded pairs'),
    'add': Command('sapd_plugin.cli.add', 'add SAM priors to a BasicSR or MMagic config of yours'),
    'check': Command('sapd_plugin.cli.check', 'check all that training needs before its first step'),
    'quickstart': Command('sapd_plugin.cli.quickstart', 'train a stock and a SAPD student in a few minutes'),
    'reproduce': Command('sapd_plugin.cli.reproduce', 'list, run and report the tables of papers'),
    'evaluate-segmentation': Command(
        'sapd_plugin.cli.evaluate_segmentation', 'compare masks of restored images with those of clean ones'
    ),
    'evaluate-teacher': Command('sapd_plugin.cli.evaluate_teacher', 'compare refined and restored images of a run'),
    'inference-cost': Command('sapd_plugin.cli.inference_cost', 'parameters, MACs, time and memory of students'),
    'compat': Command('sapd_plugin.compat.__main__', 'let BasicSR 1.4.2 be imported with torchvision >= 0.17'),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments and not arguments[0].startswith('-') and arguments[0] in COMMANDS:
        return importlib.import_module(COMMANDS[arguments[0]].module).main(arguments[1:])
    width = max(map(len, COMMANDS)) + 2
    lines = [f'  {name:{width}}{command.summary}' for name, command in COMMANDS.items()]
    parser = argparse.ArgumentParser(
        prog='sapd',
        description='SAM priors for image restoration in BasicSR and MMagic.',
        epilog='\n'.join(['commands:', *lines, '', "'sapd COMMAND --help' shows a command's options."]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument('--version', action='version', version=f'sapd_plugin {__version__}')
    parser.add_argument('command', metavar='COMMAND', help=argparse.SUPPRESS)
    name = parser.parse_args(arguments[:1]).command
    parser.error(f"found no command '{name}', expected one of {', '.join(COMMANDS)}.{nearest(name, COMMANDS)}")


if __name__ == '__main__':
    sys.exit(main())
