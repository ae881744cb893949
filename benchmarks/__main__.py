"""Benchmarks: speed, with each reference measured in turn in the same run, and what SPF gains by masks.

python tools/benchmark.py step|price|sgr|store|ranks|loader|mmagic_step|mmagic_loader|all [--repeats N] [--masks DIR]
python tools/benchmark.py extract --data DIR [--checkpoint FILE] [--photos N] [--points N] [--threads N]
    [--tuned-malloc]
python tools/benchmark.py controls [--data DIR] [--tasks TASK ...] [--fusions NAME ...] [--sources clean restored]
    [--inputs 'y, x'] [--seeds N] [--iterations N] [--output CSV]

step, price and mmagic_step need VGG-19 weights (SAPD_VGG_CHECKPOINT). extract needs a folder of photos with annotators'
segmentations, and takes minutes per photo, most of them in segment_anything's own generator. controls trains second
networks with masks and without (see its docstring), which takes about 20 minutes per task. 'all' leaves both out.
"""

from __future__ import annotations

import argparse
import importlib
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.errors import SAPDError

# Benchmarks, and the framework whose adapter each needs.
BENCHMARKS = {
    'step': 'basicsr',
    'price': 'basicsr',
    'sgr': None,
    'store': None,
    'ranks': None,
    'loader': 'basicsr',
    'mmagic_step': 'mmagic',
    'mmagic_loader': 'mmagic',
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('which', choices=[*BENCHMARKS, 'extract', 'controls', 'all'])
    parser.add_argument('--repeats', type=int, help='runs per median')
    parser.add_argument('--masks', type=Path, help='store: folder of label maps as PNG files (default: made here)')
    parser.add_argument(
        '--data',
        type=Path,
        help='extract: folder of rain100l/{clean,rainy} and segmentation_gt; '
        'controls: of train_photos, cbsd68 and masks/{train_photos,cbsd68} (default: photographs of scikit-image)',
    )
    parser.add_argument('--checkpoint', type=Path, help='extract: SAM checkpoint (default: DATA/sam/mobile_sam.pt)')
    parser.add_argument('--photos', type=int, help='extract: clean and rainy photos, each (default: 1)')
    parser.add_argument('--points', type=int, help='extract: points per side of the stock grid (default: 32)')
    parser.add_argument('--threads', type=int, help='extract: threads of each process (default: 2)')
    parser.add_argument('--tuned-malloc', action='store_true', help='extract: let glibc keep freed memory')
    parser.add_argument('--tasks', nargs='+', help='controls: region_noise, weak100, weak50, rain (default: all)')
    parser.add_argument('--fusions', nargs='+', help='controls: network_spf.fusion; a+b for both (default: modulate)')
    parser.add_argument('--sources', nargs='+', help='controls: masks extracted from clean, restored (default: clean)')
    parser.add_argument('--inputs', help="controls: what SPF sees, 'y, x' or 'y' (default: 'y, x')")
    parser.add_argument('--seeds', type=int, help='controls: second networks per arm (default: 3)')
    parser.add_argument('--iterations', type=int, help='controls: steps of each (default: 700)')
    parser.add_argument('--output', type=Path, help='controls: CSV of the gains of each photo; arms in it are kept')
    options = parser.parse_args(arguments)
    status = 0
    for name in BENCHMARKS if options.which == 'all' else (options.which,):
        try:
            table = measure(name, options)
        except SAPDError as error:
            print(f'error: {error}', file=sys.stderr)
            status = 2
        else:
            print(f'\n{name}\n{table.to_string(index=False, float_format="{:.4g}".format)}')
    return status


def measure(name: str, options: argparse.Namespace) -> pd.DataFrame:
    """Run one benchmark and return its table.

    Raises:
        SAPDError: a requirement is missing.
    """
    alias_functional_tensor()
    framework = BENCHMARKS.get(name)
    try:
        if framework is not None:
            importlib.import_module(f'sapd_plugin.{framework}')
    except ModuleNotFoundError as error:
        raise SAPDError(f'benchmark {name}: needs {error.name}, which is not installed here.') from error
    run = importlib.import_module(f'benchmarks.{name}').run
    given = {key: value for key, value in vars(options).items() if value is not None}
    return pd.DataFrame(run(**{key: given[key] for key in inspect.signature(run).parameters if key in given}))


if __name__ == '__main__':
    sys.exit(main())
