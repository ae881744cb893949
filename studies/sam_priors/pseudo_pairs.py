r"""Add degraded photos without ground truth to a training set: their targets are what a teacher makes of them.

T=runs/tables/basicsr/noise50_few/NAFNet-w8/full/teach_restored/0/experiments/noise50_few_NAFNet-w8_full_teach_restored_0
python -m studies.sam_priors.pseudo_pairs --run $T --pairs datasets/Noise50/few --photos datasets/Noise50/train/input \
    --masks datasets/masks/noise50_few_restored --target z --output datasets/Noise50_z

Where the ground truth is known, no teacher's image is better. So here the teacher is used where it is not known (DUKD,
arXiv 2309.14162, does so on other crops and scales). It is the network of a SAPD training, --run: y is what its
student restores, z what SPF makes of y and the photo's masks. A student is then trained by its stock recipe on --pairs
and these pseudo-pairs together, at the price of stock; --target y is the control, self-training without a teacher.
Targets are rounded to 8 bits. Photos that --pairs holds, too, are left out.

Interrupt it at any time; rerun the same command to resume. Exit status: 0 done, 2 a mistake, 130 interrupted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from sapd_plugin.cli.common import exit_status
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.arms import by_key
from sapd_plugin.evaluation.pairs import find_pairs
from sapd_plugin.evaluation.teacher import Masks, Teacher, find_run
from sapd_plugin.files import digest, write_atomically
from sapd_plugin.priors.extraction.images import load_image, read_image
from sapd_plugin.priors.store import MaskStore, manifest
from sapd_plugin.priors.verification import ImageFile, verify_images
from sapd_plugin.progress import Bar

LOSSLESS = ('.png', '.bmp')


def run(options: argparse.Namespace) -> None:
    """Link the pairs and the photos, and write the photos' targets.

    Raises:
        SAPDError: a folder, a network or a mask is missing, masks are of other images, or --output was made of
            something else.
    """
    pairs = find_pairs(options.pairs)
    photos = {key: path for key, path in by_key('--photos', options.photos).items() if key not in pairs}
    if not photos:
        raise SAPDError(f'--photos: found none in {options.photos} that --pairs does not hold, expected some.')
    other = next((path for path in photos.values() if path.suffix not in LOSSLESS), None)
    if other is not None:
        raise SAPDError(
            f'--photos: found {other}, expected {" or ".join(LOSSLESS)} files, as targets are written alike.'
        )
    nested = next((key for key in (*pairs, *photos) if '/' in key), None)
    if nested is not None:
        raise SAPDError(f'--pairs, --photos: found {nested} in a sub-folder, which BasicSR does not search.')
    store = MaskStore(options.masks)
    missing = sorted(key for key in photos if key not in store)
    if missing:
        raise SAPDError(f"--masks: {options.masks} has no masks for {len(missing)} photos, among them '{missing[0]}'.")
    images = [(key, [ImageFile(str(path), partial(load_image, path))]) for key, path in photos.items()]
    print(verify_images('--masks', store, images))
    files = find_run(options.run, None)
    teacher = Teacher(*files)
    _begin(options, {path.name: digest(path) for path in files}, manifest.read_fingerprint(options.masks))
    for side in ('input', 'target'):
        (options.output / side).mkdir(exist_ok=True)
    for key, pair in pairs.items():
        for side, path in zip(('input', 'target'), pair):
            _link(options.output / side / f'{key}{path.suffix}', path)
    for key, path in Bar(photos.items(), 'photos', len(photos), unit='photo'):
        _link(options.output / 'input' / f'{key}{path.suffix}', path)
        target = options.output / 'target' / f'{key}{path.suffix}'  # BasicSR expects both images of a pair to have one
        if not target.is_file():
            image = _restored(teacher, store, key, path, options.target)
            write_atomically(target, cv2.imencode(path.suffix, image[:, :, ::-1])[1].tobytes())


def _restored(teacher: Teacher, store: MaskStore, key: str, path: Path, target: str) -> np.ndarray:
    record = store.record(key)
    masks = Masks(record.labels(), record.context() if teacher.spf.needs_context else None)
    found = teacher.restore(read_image(path), {'z': masks})
    return (255 * found[target]).round().astype(np.uint8)


def _begin(options: argparse.Namespace, teacher: Mapping[str, str], masks: str) -> None:
    """Note what the folder is made of, and refuse one that was made of something else."""
    names = ('run', 'pairs', 'photos', 'masks', 'target')
    made_of = {**{f'--{name}': getattr(options, name) for name in names}, **teacher, 'masks': masks}
    text = ''.join(f'{name} {value}\n' for name, value in made_of.items())
    note = options.output / 'made_of.txt'
    if note.is_file():
        if note.read_text(encoding='utf-8') != text:
            raise SAPDError(
                f'--output: {options.output} was made with other options, networks or masks, see {note.name}. '
                'Name a new folder.'
            )
    elif options.output.is_dir() and any(options.output.iterdir()):
        raise SAPDError(f'--output: found files in {options.output} and no {note.name}. Name a new folder.')
    options.output.mkdir(parents=True, exist_ok=True)
    write_atomically(note, text)


def _link(path: Path, to: Path) -> None:
    if not path.is_symlink():
        path.symlink_to(to.resolve())


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--run', type=Path, required=True, help="the teacher's SAPD training, experiments/NAME")
    parser.add_argument('--pairs', type=Path, required=True, help='folder with input/ and target/')
    parser.add_argument('--photos', type=Path, required=True, help='folder of degraded photos without ground truth')
    parser.add_argument('--masks', type=Path, required=True, help='mask store of these photos')
    parser.add_argument('--target', choices=('z', 'y'), default='z', help='what takes the place of the ground truth')
    parser.add_argument('--output', type=Path, required=True, help='folder of the new training set')
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == '__main__':
    sys.exit(main())
