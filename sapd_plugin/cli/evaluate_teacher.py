r"""Evaluate the teacher z of a SAPD training, or find out before any whether masks can help.

After a training of BasicSR: is z good, do masks matter to it, and does the student follow it?

sapd evaluate-teacher --run experiments/sapd_derain --pairs datasets/MiniRain/val \
    --masks datasets/masks/MiniRain_val --reference experiments/stock/models/net_g_latest.pth --output runs/teacher

Measures PSNR and the distribution of the error (at the boundaries of the masks, inside small and large regions, without
a mask), for the degraded image, y (the student, with EMA weights if there are any), z (SPF of this y with the image's
masks), z with masks that should be worse (another image's, none, one region, felzenszwalb's), and the stock student. It
takes complete images or, with --patch, tiles as in training. --run is the training's folder with
models/net_g_latest.pth, models/net_spf_latest.pth and the YAML (or --config names it).

A network that was trained with masks is hurt by wrong ones, so z - z_shuffled overstates what masks are worth. For a
fair answer, train a twin with `network_spf.one_region: true`, everything else equal, and name its folder with --twin.

Writes below --output: table.md, teacher.csv (one line per image and kind of pixel) and picture.png (two crops: where z
is better and worse than y by the largest margin).

Before a training, with a stock student of BasicSR or MMagic:

sapd evaluate-teacher --restored-by stock.yml net_g_latest.pth --pairs datasets/MiniRain/train --masks clean=STORE \
    --output runs/trial

trains a small second network on what the student restores, for minutes on a CPU: with the masks of each store, without
masks (one region, the same network), and without fusion (cascade). It says for each store whether z is better than
without masks, with 95 % intervals. For `felzenszwalb` in place of a STORE, regions of y are made. Where masks do not
help here, they are not likely to help a training. Writes trial.csv (one line per arm, seed, masks of the test and
photo), trial.json and table.md; the same command resumes an interrupted trial.

Exit status: 0 done, 2 a mistake in the command, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from sapd_plugin.cli import mask_trial
from sapd_plugin.cli.common import check_counts, run_command
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.pairs import find_pairs, match_masks
from sapd_plugin.evaluation.teacher import Masks, Teacher, find_run
from sapd_plugin.evaluation.teacher_picture import Extremes
from sapd_plugin.evaluation.teacher_scores import Score, score, table, write_scores
from sapd_plugin.home import expanded
from sapd_plugin.priors.context import COLUMNS
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.inspection.overlays import write_png
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.shuffled import ShuffledMasks
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.progress import Bar
from sapd_plugin.user_modules import add_import_option, import_modules


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument('--run', type=Path, help="a SAPD training's folder, experiments/NAME")
    mode.add_argument(
        '--restored-by',
        nargs=2,
        type=Path,
        metavar=('CONFIG', 'CHECKPOINT'),
        help='a stock student: its BasicSR YAML or MMagic config, and its weights',
    )
    parser.add_argument('--config', type=Path, help="its YAML (default: BasicSR's copy in --run)")
    parser.add_argument('--pairs', type=Path, required=True, help='folder with input/ and target/')
    parser.add_argument(
        '--masks',
        nargs='+',
        required=True,
        metavar='[NAME=]STORE',
        help="mask store of the pairs' images; with --restored-by, one or several",
    )
    parser.add_argument('--mask-template', default='{}', help="how the store names an image called '{}' (default: {})")
    parser.add_argument('--reference', type=Path, help='checkpoint of a stock student, of the same network')
    parser.add_argument('--twin', type=Path, help='folder of the same training with network_spf.one_region: true')
    parser.add_argument('--patch', type=int, metavar='SIDE', help='cut images into tiles, for example of gt_size')
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images by name')
    parser.add_argument('--seed', type=int, default=0, help='random seed that shuffles the masks (default: 0)')
    parser.add_argument('--device', default='cpu', help='cpu (default), cuda, ...')
    add_import_option(parser)
    parser.add_argument('--output', type=Path, required=True, help='folder for the results')
    mask_trial.add_arguments(parser)


def evaluate(options: argparse.Namespace) -> tuple[list[Score], Extremes]:
    """Check everything, then restore and score each image."""
    import_modules(options.imports)
    check_counts(options, patch=8, limit=2)  # masks are shuffled between at least two images
    folder = _one_store(options.masks)
    pairs, store = find_pairs(options.pairs, options.limit), MaskStore(folder)
    keys, compared = match_masks(store, pairs, options.mask_template)
    print(compared)
    shuffled = ShuffledMasks(store, keys.values(), options.seed)
    teacher = Teacher(*find_run(options.run, options.config), options.reference, options.device)
    twin = None if options.twin is None else Teacher(*find_run(options.twin, None), device=options.device)
    if twin is not None:
        check_twin(teacher, twin, options.twin)
    controls = Controls(store, shuffled, teacher)
    options.output.mkdir(parents=True, exist_ok=True)
    scores, extremes = [], Extremes()
    patch = options.patch
    for key, (degraded, clean) in Bar(pairs.items(), 'images', len(pairs), unit='image'):
        image, target = read_image(degraded), read_image(clean)
        masks = controls.masks(keys[key], image)
        labels = masks['z'].labels
        if labels.shape != target.shape[:2]:
            raise SAPDError(f"--masks: the mask '{keys[key]}' is {labels.shape}, the image {target.shape[:2]}.")
        if patch is not None:
            if image.shape != target.shape or min(target.shape[:2]) < patch:
                raise SAPDError(f'--patch: {key} is {image.shape}, its target {target.shape}: no tile of {patch}.')
            height, width = (side // patch * patch for side in target.shape[:2])
            image, target, labels = (array[:height, :width] for array in (image, target, labels))
        restored = in_tiles(teacher, image, masks, patch)
        if twin is not None:
            found = in_tiles(twin, image, {'z': masks['z']}, patch)
            restored |= {'y_twin': found['y'], 'z_twin': found['z']}
        if restored['y'].shape != target.shape:
            raise SAPDError(f'{key}: restored to {restored["y"].shape}, the target is {target.shape}.')
        if image.shape != target.shape:
            # Super-resolution: bicubic, as without a network.
            image = cv2.resize(image, target.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        restored = {'input': image / 255.0, **restored}
        scores += score(key, restored, target / 255.0, labels)
        extremes.look(key, restored, target / 255.0, labels)
    return scores, extremes


def _one_store(masks: Sequence[str]) -> Path:
    """Return the store of --masks. Raises SAPDError if there are several."""
    if len(masks) > 1:
        raise SAPDError(f'--masks: found {len(masks)} stores, expected one with --run.')
    return expanded(masks[0])


def check_twin(teacher: Teacher, twin: Teacher, folder: Path) -> None:
    """Refuse a run that is not the teacher's with one region. Raises SAPDError, which names the first difference."""
    if not twin.spf.settings.one_region:
        raise SAPDError(f'--twin: {folder} was trained with masks, expected network_spf.one_region: true.')
    expected = teacher.training | {'network_spf.one_region': True}
    for key in sorted(expected.keys() | twin.training.keys()):
        found, value = twin.training.get(key), expected.get(key)
        if found != value:
            raise SAPDError(
                f'--twin: {folder} differs from --run in {key}: found {found!r}, expected {value!r}. A twin differs in '
                'network_spf.one_region alone.'
            )


class Controls:
    """The masks of an image, and others that should be worse.

    Args:
        store: masks of all images.
        shuffled: the same masks, exchanged between the images.
        teacher: restores what felzenszwalb's method segments.

    Raises:
        SAPDError: SPF needs statistics of the whole photo's regions, and the store lacks them.
    """

    def __init__(self, store: MaskStore, shuffled: ShuffledMasks, teacher: Teacher) -> None:
        self.store, self.shuffled, self.teacher = store, shuffled, teacher
        self.context, self.segmenter = teacher.spf.needs_context, build_segmenter('felzenszwalb')
        key = next(iter(store.keys()))
        if self.context and not store.record(key).has_colors:
            raise SAPDError(
                f"--masks: {store.path}, mask '{key}': lacks the colors of regions, which network_spf.context: image "
                'needs. Extract the masks again into a new store.'
            )

    def masks(self, key: str, image: np.ndarray) -> dict[str, Masks]:
        """Return the masks of the image (H,W,3) with a key, by the arm that they make."""
        own, other = self.store.record(key), self.shuffled.record(key)
        labels = own.labels()
        shuffled = np.asarray(other[: labels.shape[0], : labels.shape[1], ...])[..., 0]
        restored = (255 * self.teacher.restore(image, {})['y']).round().astype(np.uint8)
        empty, one_region = np.zeros_like(labels), np.ones_like(labels)
        return {
            'z': Masks(labels, own.context() if self.context else None),
            'z_shuffled': Masks(shuffled, other.context() if self.context else None),
            'z_empty': Masks(empty, np.zeros((1, COLUMNS), np.float32)),
            'z_one_region': Masks(one_region, np.zeros((2, COLUMNS), np.float32)),
            'z_felzenszwalb': Masks.of(self.segmenter(restored), restored),
        }


def in_tiles(
    teacher: Teacher, image: np.ndarray, masks: Mapping[str, Masks], patch: int | None
) -> dict[str, np.ndarray]:
    """Restore an image tile by tile, its sides being multiples of ``patch``; None means in one piece."""
    if patch is None:
        return teacher.restore(image, masks)
    whole: dict[str, np.ndarray] = {}
    for top in range(0, image.shape[0], patch):
        for left in range(0, image.shape[1], patch):
            place = slice(top, top + patch), slice(left, left + patch)
            tiles = teacher.restore(image[place], {arm: mask.tile(place) for arm, mask in masks.items()})
            for arm, tile in tiles.items():
                whole.setdefault(arm, np.empty(image.shape, tile.dtype))[place] = tile
    return whole


def check_mode(options: argparse.Namespace) -> None:
    """Refuse options of the other mode. Raises SAPDError, which names one."""
    of_run = [f'--{name}' for name in ('config', 'reference', 'twin') if getattr(options, name) is not None]
    other, mode = (mask_trial.given(options), '--restored-by') if options.restored_by is None else (of_run, '--run')
    for option in other:
        raise SAPDError(f'{option}: is an option of {mode} alone.')


def run(options: argparse.Namespace) -> None:
    """Evaluate, and write the table, the scores and the picture; or run a trial of masks."""
    check_mode(options)
    if options.restored_by is not None:
        mask_trial.run(options)
        return
    scores, extremes = evaluate(options)
    text = table(scores)
    (options.output / 'table.md').write_text(f'{text}\n', encoding='utf-8')
    write_scores(options.output / 'teacher.csv', scores)
    write_png(options.output / 'picture.png', extremes.picture())
    print(f'\n{text}\n\nresults: {options.output}')


main = partial(run_command, 'evaluate-teacher', __doc__, add_arguments, run)
