"""Check everything that training checks before its first step, and measure what a SAPD step costs here.

sapd check options/train_NAFNet_sapd.yml
sapd check configs/restormer_sapd.py --steps 20 --batch 4
sapd check train.yml --no-timing --import my_archs

Checks the wiring, the mask store against the training images (coverage, sizes, fingerprint), VGG-19 and SAM weights,
and one step of one batch; counts parameters, estimates memory, and compares the time of a SAPD step with a stock one.
Nothing is written. On a GPU the batch is the config's, on a CPU one image. Exit status: 0 ready to train, 1 a mistake
was found, 2 the config cannot be read.
"""

from __future__ import annotations

import argparse
import warnings
from functools import partial
from pathlib import Path

from sapd_plugin.cli.common import DONE, FINDING, check_counts, run_command
from sapd_plugin.progress import Bar
from sapd_plugin.user_modules import add_import_option, import_modules

_STEPS = 8  # to open the config, five checks, and a training with SAM priors and one without


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add('config', type=Path, help='BasicSR YAML or MMagic config')
    add('--steps', type=int, default=3, metavar='N', help='steps to time, SAPD and stock each (default: 3)')
    add('--no-timing', action='store_true', help='run one step each, without timing')
    add('--batch', type=int, metavar='N', help="images per step (default: the config's on a GPU, else 1)")
    add_import_option(parser)


def run(options: argparse.Namespace) -> int:
    """Print one line per finding."""
    check_counts(options, steps=1, batch=1)
    warnings.simplefilter('ignore')  # from the frameworks, about things that the user cannot change
    import_modules(options.imports)
    status, repeats = DONE, 0 if options.no_timing else options.steps
    with Bar(total=_STEPS, desc='check', unit='step', leave=False) as bar:
        bar.say('import the framework')
        from sapd_plugin.evaluation.trial import check_training

        for level, subject, text in check_training(options.config, repeats, options.batch, bar):
            bar.print(f'{level:8} {subject}: {text}')
            status = FINDING if level == 'error' else status
    return status


main = partial(run_command, 'check', __doc__, add_arguments, run, interrupted='Interrupted.')
