"""Speed of the plugin, each figure beside what it is compared with, measured in turn in one run.

python tools/benchmark.py step|sgr|store|ranks|loader|infer|all [--repeats N] [--masks DIR]

step needs VGG-19 weights (SAPD_VGG_CHECKPOINT); store reads label maps from ../shared/data beside the project, or
--masks DIR.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.timing import print_table
from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.errors import SAPDError

MASKS = Path(__file__).resolve().parents[2] / 'shared/data/masks'
BENCHMARKS = ('step', 'sgr', 'store', 'ranks', 'loader', 'infer')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('which', choices=[*BENCHMARKS, 'all'])
    parser.add_argument('--repeats', type=int, help='runs that each median is taken over')
    parser.add_argument('--masks', type=Path, default=MASKS, help='store: folder of label maps as PNG files')
    options = parser.parse_args(arguments)
    # Not at the top of the file, which the processes of `ranks` import, too.
    alias_functional_tensor()
    importlib.import_module('sapd_plugin.basicsr')  # registers the plugin
    settings = {'repeats': options.repeats} if options.repeats else {}
    for name in BENCHMARKS if options.which == 'all' else (options.which,):
        module = importlib.import_module(f'benchmarks.{name}')
        try:
            if name == 'store':
                module.print_table(module.run(options.masks))
            else:
                print_table(name, module.run(**settings))
        except SAPDError as error:
            print(f'error: {error}', file=sys.stderr)
            return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())
