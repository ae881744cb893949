"""Speed of the plugin, each figure beside what it is compared with, measured in turn in one run.

python tools/benchmark.py step|sgr|store|ranks|loader|infer|mmagic_step|mmagic_loader|all [--repeats N] [--masks DIR]
python tools/benchmark.py extract --data DIR [--checkpoint FILE] [--photos N] [--points N] [--threads N]
    [--tuned-malloc]

step and mmagic_step need VGG-19 weights (SAPD_VGG_CHECKPOINT). extract compares with human segmentations, so it needs
a folder of photos that people segmented; it takes minutes per photo, most of them segment_anything's own generator's,
so 'all' leaves it out.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.timing import print_table

ADAPTERS = {
    'sapd_plugin.basicsr': ('step', 'loader', 'infer'),
    'sapd_plugin.mmagic': ('mmagic_step', 'mmagic_loader'),
}
"""The adapter that a benchmark needs registered."""
BENCHMARKS = ('step', 'sgr', 'store', 'ranks', 'loader', 'infer', 'mmagic_step', 'mmagic_loader')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('which', choices=[*BENCHMARKS, 'extract', 'all'])
    parser.add_argument('--repeats', type=int, help='runs that each median is taken over')
    parser.add_argument('--masks', type=Path, help='store: folder of label maps as PNG files (default: made here)')
    parser.add_argument('--data', type=Path, help='extract: folder of rain100l/{clean,rainy} and segmentation_gt')
    parser.add_argument('--checkpoint', type=Path, help='extract: SAM checkpoint (default: DATA/sam/mobile_sam.pt)')
    parser.add_argument('--photos', type=int, default=1, help='extract: clean and rainy photos, each')
    parser.add_argument('--points', type=int, default=32, help='extract: points a side of the stock grid')
    parser.add_argument('--threads', type=int, default=2, help='extract: of each process')
    parser.add_argument('--tuned-malloc', action='store_true', help='extract: let glibc keep freed memory')
    options = parser.parse_args(arguments)
    settings = {'repeats': options.repeats} if options.repeats else {}
    status = 0
    for name in BENCHMARKS if options.which == 'all' else (options.which,):
        try:
            register_for(name)
            module = importlib.import_module(f'benchmarks.{name}')
            if name == 'extract':
                if options.data is None:
                    raise SAPDError(
                        '--data: missing, expected a folder of photos in rain100l/{clean,rainy} and of their human '
                        'segmentations in segmentation_gt (BSDS500).'
                    )
                checkpoint = options.checkpoint or options.data / 'sam/mobile_sam.pt'
                shape = (options.photos, options.points, options.threads, options.tuned_malloc)
                module.print_table(module.run(options.data, checkpoint, *shape))
            elif name == 'store':
                module.print_table(module.run(options.masks))
            else:
                print_table(name, module.run(**settings))
        except SAPDError as error:
            print(f'error: {error}', file=sys.stderr)
            status = 2
    return status


def register_for(benchmark: str) -> None:
    """Import the adapter that a benchmark needs. Not at the top: the processes of `ranks` import this file, too.

    Raises:
        SAPDError: its framework is not installed.
    """
    alias_functional_tensor()
    for adapter, benchmarks in ADAPTERS.items():
        if benchmark in benchmarks:
            try:
                importlib.import_module(adapter)
            except ModuleNotFoundError as error:
                raise SAPDError(f'benchmark {benchmark}: needs {error.name}, which is not installed here.') from error


if __name__ == '__main__':
    sys.exit(main())
