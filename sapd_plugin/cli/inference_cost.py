"""Measure what inference costs: parameters, multiply-accumulates (MACs), time and memory of a config's network.

sapd inference-cost configs/basicsr/sr/edsr_m_x4_stock.yml --size 180 320
sapd inference-cost student.py stock/iter_400000.pth sapd/iter_400000.pth --size 256 256 --size 720 1280 --threads 1
sapd inference-cost options/mine.yml net_g_latest.pth --import my_archs          a network of your own

Prints a Markdown table with one row per size and checkpoint; without a checkpoint the network has random weights.
Checkpoints are loaded strictly into the network of the config and timed in turn, so that a student trained with SAM
priors can be compared with the stock one. MACs are those of convolutions, linear layers and matrix products. Exit
status: 0 done, 2 a mistake in the command.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch

from sapd_plugin.cli.common import check_counts, run_command
from sapd_plugin.errors import SAPDError, check_count
from sapd_plugin.evaluation.cost import Cost, compare, steps_of
from sapd_plugin.evaluation.networks import FRAMEWORKS, build_network_from, find_framework, load_student
from sapd_plugin.evaluation.statistics import markdown_table
from sapd_plugin.progress import Bar
from sapd_plugin.user_modules import add_import_option, import_modules


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add('config', type=Path, help='BasicSR YAML or MMagic config, of a training or a test')
    add('checkpoints', type=Path, nargs='*', metavar='CHECKPOINT', help="students' weights")
    add('--framework', choices=FRAMEWORKS, help="default: that of the config's suffix, .yml or .py")
    add_import_option(parser)
    add(
        '--size',
        type=int,
        nargs=2,
        action='append',
        dest='sizes',
        metavar=('HEIGHT', 'WIDTH'),
        help='of the degraded image (default: 256 256); repeat it for more sizes',
    )
    add('--channels', type=int, default=3, help='of the image (default: 3)')
    add('--device', default='cpu', help='cpu (default), cuda, cuda:1, ...')
    add('--threads', type=int, help="of torch on the CPU (default: torch's own)")
    add('--repeats', type=int, default=5, help='runs per median (default: 5)')
    add('--no-memory', action='store_true', help='do not measure peak memory')
    add('--json', action='store_true', help='print JSON instead of the table')


def measure(options: argparse.Namespace) -> list[tuple[str, Cost]]:
    """Measure each checkpoint at each size."""
    check_counts(options, repeats=1, channels=1, threads=1)
    sizes, checkpoints = options.sizes or [(256, 256)], options.checkpoints or [None]
    for side in (side for size in sizes for side in size):
        check_count('--size', side)
    import_modules(options.imports)
    framework = options.framework or find_framework(options.config)
    steps = len(checkpoints) * (1 + len(sizes) * steps_of(options.repeats))
    rows: list[tuple[str, Cost]] = []
    with Bar(total=steps, desc='inference cost', unit='step', leave=False) as bar:
        networks = {}
        for checkpoint in checkpoints:
            name = options.config.stem if checkpoint is None else str(checkpoint)
            bar.say(f'build {name}')
            network = build_network_from(framework, options.config)
            try:
                loaded = network if checkpoint is None else load_student(network, checkpoint)
                networks[name] = loaded.to(options.device)
            except (RuntimeError, AssertionError) as error:
                raise SAPDError(f'--device: found {options.device}, expected an available device: {error}') from error
            bar.update()
        for size in sizes:
            costs = compare(
                networks,
                (1, options.channels, *size),
                repeats=options.repeats,
                threads=options.threads,
                memory=not options.no_memory,
                bar=bar,
            )
            rows += costs.items()
    return rows


def table(rows: Sequence[tuple[str, Cost]]) -> str:
    """Format the rows as Markdown."""
    cells = []
    for name, cost in rows:
        size, memory = '{}x{}'.format(*cost.shape[-2:]), '-' if cost.memory is None else f'{cost.memory / 2**20:.0f}'
        numbers = f'{cost.parameters:,}', f'{cost.macs / 1e9:.3f}', f'{cost.milliseconds:.1f}'
        cells.append([name, size, *numbers, memory])
    lines = markdown_table(['network', 'input', 'parameters', 'MACs (G)', 'time (ms)', 'peak memory (MB)'], cells)
    cost = rows[0][1]
    where = f'{cost.device}, {cost.threads} threads' if cost.device == 'cpu' else cost.device
    return '\n'.join([*lines, '', f'{where}; torch {torch.__version__}; memory above network and input, on GPUs only'])


def run(options: argparse.Namespace) -> None:
    """Measure, and print a table or JSON."""
    rows = measure(options)
    if options.json:
        print(json.dumps([{'network': name, **cost.as_dict()} for name, cost in rows], indent=2))
    else:
        print(table(rows))


main = partial(run_command, 'inference-cost', __doc__, add_arguments, run, interrupted='Interrupted.')
