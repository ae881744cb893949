"""Where the weights come from, where they are looked for, which are here, and whether they are the published files.

python tools/weights.py [FOLDER ...]    folders to look into, beside the places where the plugin looks

Nothing is downloaded: fetch a file from its publisher and put it into the first place named, or name it by --checkpoint
(SAM) and the key `weights` of SGRLoss (VGG-19). Exit status: 0, or 1 where a file is not the one that its name says.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from sapd_plugin.core.perceptual import TORCHVISION_FILE
from sapd_plugin.priors.segmenters.checkpoints import ENVIRONMENT_VARIABLE, OFFICIAL_FILES


class Published(NamedTuple):
    """One file as its authors publish it.

    Attributes:
        use: the segmenter or loss that reads it.
        file: the name that its authors gave it.
        repository: public repository whose README links to it.
        algorithm, prefix: the file's hash begins so, as its name says; empty where the name holds no hash.
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


def digest(path: Path, algorithm: str) -> str:
    """Hash a file, hex."""
    value = hashlib.new(algorithm)
    with path.open('rb') as file:
        while chunk := file.read(1 << 20):
            value.update(chunk)
    return value.hexdigest()


def verdict(path: Path, published: Published) -> str:
    """Tell whether a file is the one that its name says."""
    if not published.prefix:
        return 'its name holds no hash'
    found = digest(path, published.algorithm)
    if found.startswith(published.prefix):
        return f'{published.algorithm} begins as its name says'
    return f'NOT the published file: {published.algorithm} {found} does not begin with {published.prefix}'


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folders', nargs='*', type=Path, metavar='FOLDER')
    options = parser.parse_args(arguments)
    places = [Path(torch.hub.get_dir()) / 'checkpoints', *options.folders]

    print(f'{"for":10}  {"file":21}  {"published at":34}  hash begins with')
    for item in PUBLISHED:
        known = f'{item.algorithm} {item.prefix}' if item.prefix else 'not known from its name'
        print(f'{item.use:10}  {item.file:21}  {item.repository:34}  {known}')
    print('\nlooked for at: --checkpoint or the key `weights`, then')
    for variable in VARIABLES:
        print(f'  ${variable}: {os.environ.get(variable) or "not set"}')
    print(*(f'  {place}' for place in places), '', 'found here', sep='\n')

    named = [Path(os.environ[variable]) for variable in VARIABLES if os.environ.get(variable)]
    official = {item.file: item for item in PUBLISHED}
    found = [path for path in named + [place / name for place in places for name in official] if path.is_file()]
    verdicts = []
    for path in found:
        item = official.get(path.name)
        verdicts.append(verdict(path, item) if item else 'another name than the published ones')
        print(f'  {path}\n    sha256 {digest(path, "sha256")}; {verdicts[-1]}')
    if not found:
        print('  none')
    return int(any(text.startswith('NOT') for text in verdicts))


if __name__ == '__main__':
    sys.exit(main())
