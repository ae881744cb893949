"""List the weights: their publishers, the places searched, and whether those found are the published files.

sapd weights [FOLDER ...]    folders to search, besides the default places

Nothing is downloaded: get a file from its publisher and put it into the first folder listed, or pass it by --checkpoint
(SAM) or the key `weights` of SGRLoss (VGG-19). Exit status: 0, or 1 if a file does not match its name.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path

import torch

from sapd_plugin.cli.common import DONE, FINDING, run_command
from sapd_plugin.core.perceptual import vgg_places
from sapd_plugin.evaluation.published_weights import PUBLISHED, VARIABLES, verdict
from sapd_plugin.files import digest
from sapd_plugin.progress import Bar


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('folders', nargs='*', type=Path, metavar='FOLDER')


def run(options: argparse.Namespace) -> int:
    """Print the published files, the places searched, and the files found."""
    hub = Path(torch.hub.get_dir()) / 'checkpoints'
    places = list(dict.fromkeys([hub, *(place.parent for place in vgg_places()), *options.folders]))
    print(f'{"for":10}  hash begins with  published at')
    for item in PUBLISHED:
        known = f'{item.algorithm} {item.prefix}' if item.prefix else 'unknown'
        print(f'{item.use:10}  {known:16}  {item.folder}{item.file}')
    print('\nsearched: --checkpoint or the key `weights`, then')
    for variable in VARIABLES:
        print(f'  ${variable}: {os.environ.get(variable) or "not set"}')
    print(*(f'  {place}' for place in places), '', 'found here', sep='\n')

    paths = [Path(os.environ[variable]) for variable in VARIABLES if os.environ.get(variable)]
    paths += [place / item.file for place in places for item in PUBLISHED]
    status, found = DONE, [path for path in paths if path.is_file()]
    sizes = {path: path.stat().st_size for path in found}
    with Bar(total=sum(sizes.values()), desc='digests', unit='B', unit_scale=True, leave=False) as bar:
        for path, size in sizes.items():
            genuine, text = verdict(path)
            status = status if genuine else FINDING
            bar.print(f'  {path}\n    sha256 {digest(path)}; {text}')
            bar.update(size)
    if not found:
        print('  nothing')
    return status


main = partial(run_command, 'weights', __doc__, add_arguments, run, interrupted='Interrupted.')
