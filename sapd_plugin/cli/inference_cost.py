"""Measure what inference costs: parameters, multiply-accumulates (MACs), time and memory of a config's network.

sapd inference-cost --framework basicsr configs/basicsr/sr/edsr_m_x4_stock.yml --size 180 320
sapd inference-cost --framework mmagic student.py stock/iter_400000.pth sapd/iter_400000.pth \
    --size 256 256 --size 720 1280 --threads 1

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
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.cost import Cost, compare
from sapd_plugin.evaluation.networks import FRAMEWORKS, build_network_from, load_student
from sapd_plugin.evaluation.statistics import markdown_table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add('config', type=Path, help='BasicSR YAML or MMagic config, of a training or a test')
    add('checkpoints', type=Path, nargs='*', metavar='CHECKPOINT', help="students' weights")
    add('--framework', required=True, choices=FRAMEWORKS)
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
    networks = {}
    for checkpoint in options.checkpoints or [None]:
        network = build_network_from(options.framework, options.config)
        name = options.config.stem if checkpoint is None else str(checkpoint)
        try:
            networks[name] = (network if checkpoint is None else load_student(network, checkpoint)).to(options.device)
        except (RuntimeError, AssertionError) as error:
            raise SAPDError(f'--device: found {options.device}, expected an available device: {error}') from error
    rows: list[tuple[str, Cost]] = []
    for size in options.sizes or [(256, 256)]:
        costs = compare(
            networks,
            (1, options.channels, *size),
            repeats=options.repeats,
            threads=options.threads,
            memory=not options.no_memory,
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
