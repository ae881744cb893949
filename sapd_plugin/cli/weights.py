"""List the weights: their publishers, where they are searched, and whether those found are the published files.

sapd weights [FOLDER ...]    folders to search besides the places where the plugin looks

Nothing is downloaded: get a file from its publisher and put it into the first folder listed, or name it by --checkpoint
(SAM) and the key `weights` of SGRLoss (VGG-19). Exit status: 0, or 1 if a file is not the one that its name says.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sapd_plugin.cli.common import DONE, FINDING, run_command
from sapd_plugin.core.perceptual import TORCHVISION_FILE
from sapd_plugin.files import digest
from sapd_plugin.priors.segmenters.checkpoints import ENVIRONMENT_VARIABLE, OFFICIAL_FILES


class Published(NamedTuple):
    """One file as its authors publish it.

    Attributes:
        use: the segmenter or loss that reads it.
        file: the name that its authors gave it.
        repository: public repository whose README links to it.
        algorithm: of the hash that the name contains.
        prefix: the first digits of that hash; empty if the name contains none.
    """

    use: str
    file: str
    repository: str
    algorithm: str = ''
    prefix: str = ''


_SAM = 'facebookresearch/segment-anything'
PUBLISHED = (
    Published('sam_vit_h', OFFICIAL_FILES['sam_vit_h'], _SAM, 'md5', '4b8939'),
    Published('sam_vit_l', OFFICIAL_FILES['sam_vit_l'], _SAM, 'md5', '0b3195'),
    Published('sam_vit_b', OFFICIAL_FILES['sam_vit_b'], _SAM, 'md5', '01ec64'),
    Published('mobile_sam', OFFICIAL_FILES['mobile_sam'], 'ChaoningZhang/MobileSAM'),
    Published('SGRLoss', TORCHVISION_FILE, 'pytorch/vision', 'sha256', 'dcbb9e9d'),
)
VARIABLES = (ENVIRONMENT_VARIABLE, 'SAPD_VGG_CHECKPOINT')


def verdict(path: Path) -> tuple[bool, str]:
    """Compare a file with the one that its name says.

    Returns:
        Whether nothing contradicts its name, and a sentence about it.
    """
    published = {item.file: item for item in PUBLISHED}.get(path.name)
    if published is None:
        return True, 'not the name of a published file'
    if not published.prefix:
        return True, 'its name contains no hash'
    value = digest(path, published.algorithm)
    if value.startswith(published.prefix):
        return True, f'{published.algorithm} begins as its name says'
    return False, f'NOT the published file: {published.algorithm} {value} does not begin with {published.prefix}'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('folders', nargs='*', type=Path, metavar='FOLDER')


def run(options: argparse.Namespace) -> int:
    """Print the published files, the places, and what is found there."""
    places = [Path(torch.hub.get_dir()) / 'checkpoints', *options.folders]
    print(f'{"for":10}  {"file":21}  {"published at":34}  hash begins with')
    for item in PUBLISHED:
        known = f'{item.algorithm} {item.prefix}' if item.prefix else 'unknown'
        print(f'{item.use:10}  {item.file:21}  {item.repository:34}  {known}')
    print('\nsearched: --checkpoint or the key `weights`, then')
    for variable in VARIABLES:
        print(f'  ${variable}: {os.environ.get(variable) or "not set"}')
    print(*(f'  {place}' for place in places), '', 'found here', sep='\n')

    paths = [Path(os.environ[variable]) for variable in VARIABLES if os.environ.get(variable)]
    paths += [place / item.file for place in places for item in PUBLISHED]
    status = DONE
    for path in filter(Path.is_file, paths):
        genuine, text = verdict(path)
        status = status if genuine else FINDING
        print(f'  {path}\n    sha256 {digest(path)}; {text}')
    if not any(map(Path.is_file, paths)):
        print('  nothing')
    return status


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    return run_command('weights', __doc__, add_arguments, run, arguments, interrupted='Interrupted.')


if __name__ == '__main__':
    sys.exit(main())
