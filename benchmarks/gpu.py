"""Everything that has to be checked and measured on a GPU, in one command that is meant to end within eight minutes.

python -m benchmarks.gpu                        # writes gpu.json and gpu.md; without a GPU nothing is measured
python -m benchmarks.gpu --device cpu --tiny    # runs every part on a CPU, to see that it works

It needs a clone and the requirements of the plugin's wheel, no framework. MobileSAM is measured if SAPD_SAM_CHECKPOINT
names its checkpoint. SGR's VGG-19 has random weights unless SAPD_VGG_CHECKPOINT names others, which costs the same.
Exit status: 0, also without a GPU; 1 if a part failed.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.device import losses, parity, precision, reading, segmenting, steps
from benchmarks.fixtures import Row
from benchmarks.training import STUDENTS, TINY, builder, vgg_weights
from sapd_plugin import __version__
from sapd_plugin.errors import SAPDError

Part = Callable[[], list[Row]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--device', default='cuda', help='cuda (default), cuda:1, ..., or cpu')
    parser.add_argument('--tiny', action='store_true', help='tiny networks and images; the numbers mean nothing')
    parser.add_argument('--minutes', type=float, default=6.0, help='no part begins after this time (default: 6)')
    parser.add_argument('--output', type=Path, default=Path(), help='folder of gpu.json and gpu.md (default: here)')
    options = parser.parse_args(arguments)
    device = torch.device(options.device)
    if device.type == 'cuda' and not torch.cuda.is_available():
        print('No GPU that torch can use: nothing was measured, nothing is written.')
        return 0
    with tempfile.TemporaryDirectory() as folder:
        parts = all_parts(device, options.tiny, vgg_weights(Path(folder)))
        report = measure(parts, options.minutes)
    report['machine'] = machine(device, options.tiny)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / 'gpu.json').write_text(json.dumps(report, indent=1), encoding='utf-8')
    (options.output / 'gpu.md').write_text(markdown(report), encoding='utf-8')
    print(markdown(report))
    return int(bool(report['failed']))


def all_parts(device: torch.device, tiny: bool, vgg: Path) -> dict[str, Part]:
    """Return the parts by name; the longest come last."""
    size: dict[str, Any] = {'side': 64, 'batches': (2,), 'repeats': 1} if tiny else {'side': 256}
    students = {
        f'Step of {name}': partial(steps.run, builder(*student), device, vgg, **size)
        for name, student in (TINY if tiny else STUDENTS).items()
    }
    return {
        'Same gradients as on the CPU': partial(parity.run, device, vgg),
        'Half precision': partial(precision.run, device, vgg),
        'SGR': partial(losses.run, device, vgg, tiny),
        'MobileSAM': partial(segmenting.run, device, tiny),
        'Mask store': partial(reading.run, tiny),
        **students,
    }


def measure(parts: dict[str, Part], minutes: float) -> dict[str, Any]:
    """Run the parts; a part that lacks something, or that fails, does not stop the others.

    Returns:
        'tables' (rows by part), 'skipped' and 'failed' (reasons by part), 'seconds' of each part.
    """
    report: dict[str, Any] = {'tables': {}, 'skipped': {}, 'failed': {}, 'seconds': {}}
    start = time.monotonic()
    for name, part in parts.items():
        begun = time.monotonic()
        if begun - start > 60 * minutes:
            report['skipped'][name] = f'{minutes:g} minutes are over.'
            continue
        try:
            report['tables'][name] = [row._asdict() for row in part()]
        except SAPDError as error:
            report['skipped'][name] = str(error)
        except Exception as error:
            report['failed'][name] = f'{type(error).__name__}: {" ".join(str(error).split())[:500]}'
        report['seconds'][name] = round(time.monotonic() - begun, 1)
    return report


def machine(device: torch.device, tiny: bool) -> dict[str, Any]:
    """Describe what was measured, and where."""
    found = {
        'sapd_plugin': __version__,
        'torch': torch.__version__,
        'python': platform.python_version(),
        'device': 'cpu',
        'processors': os.cpu_count(),
        'tiny': tiny,
    }
    if device.type == 'cuda':
        properties = torch.cuda.get_device_properties(device)
        found |= {
            'device': properties.name,
            'GiB': round(properties.total_memory / 2**30, 1),
            'CUDA': torch.version.cuda,
        }
    return found


def markdown(report: dict[str, Any]) -> str:
    """Return the report as Markdown."""
    lines = ['# Measured on ' + ', '.join(f'{key} {value}' for key, value in report['machine'].items()), '']
    if report['machine']['tiny']:
        lines += ['Tiny networks and images: this shows that every part runs. The numbers mean nothing.', '']
    lines += ['| part | what | value | |', '| --- | --- | --- | --- |']
    lines += [
        f'| {part} | {row["what"]} | {_number(row["value"])} | {row["unit"]} |'
        for part, rows in report['tables'].items()
        for row in rows
    ]
    for state in ('skipped', 'failed'):
        lines += [f'| {part} | {state}: {reason} | | |' for part, reason in report[state].items()]
    return '\n'.join([*lines, '', f'{sum(report["seconds"].values()):.0f} seconds.', ''])


def _number(value: float) -> str:
    return f'{value:.4g}' if math.isfinite(value) else str(value)


if __name__ == '__main__':
    sys.exit(main())
