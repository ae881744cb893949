"""Analyse a SAPD training of BasicSR: is the teacher z good, do masks matter to it, and does the student follow it?

sapd evaluate-teacher --run experiments/sapd_derain --pairs datasets/MiniRain/val \
    --masks datasets/masks/MiniRain_val --reference experiments/stock/models/net_g_latest.pth --output runs/teacher

Measures PSNR and the distribution of the error (at the boundaries of the masks, inside small and large regions, without
a mask), for the degraded image, y (the student, with EMA weights if there are any), z (SPF of this y with the image's
masks), z with the masks of other images and without masks, and the stock student. It takes complete images or, with
--patch, tiles as in training (where masks are the largest regions of the tile). --run is the training's folder with
models/net_g_latest.pth, models/net_spf_latest.pth and the YAML (or --config names it).

Writes below --output: table.md, teacher.csv (one line per image and kind of pixel) and picture.png (two crops: where z
is better and worse than y by the largest margin). Exit status: 0 done, 2 a mistake in the command, 130 interrupted.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from sapd_plugin.cli.common import check_counts, run_command
from sapd_plugin.errors import SAPDError, nearest
from sapd_plugin.evaluation.teacher import Teacher, find_run
from sapd_plugin.evaluation.teacher_picture import Extremes
from sapd_plugin.evaluation.teacher_scores import Score, score, table, write_scores
from sapd_plugin.priors.extraction.images import list_images, read_image
from sapd_plugin.priors.inspection.overlays import write_png
from sapd_plugin.priors.shuffled import ShuffledMasks
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.keys import mask_key, template_key


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument('--run', type=Path, required=True, help="the training's folder, experiments/NAME")
    parser.add_argument('--config', type=Path, help="its YAML (default: BasicSR's copy in --run)")
    parser.add_argument('--pairs', type=Path, required=True, help='folder with input/ and target/')
    parser.add_argument('--masks', type=Path, required=True, help="mask store of the pairs' images")
    parser.add_argument('--mask-template', default='{}', help="how the store names an image called '{}' (default: {})")
    parser.add_argument('--reference', type=Path, help='checkpoint of a stock student, of the same network')
    parser.add_argument('--patch', type=int, metavar='SIDE', help='cut images into tiles, for example of gt_size')
    parser.add_argument('--limit', type=int, metavar='N', help='only the first N images by name')
    parser.add_argument('--seed', type=int, default=0, help='random seed that shuffles the masks (default: 0)')
    parser.add_argument('--device', default='cpu', help='cpu (default), cuda, ...')
    parser.add_argument('--output', type=Path, required=True, help='folder for the results')


def find_pairs(folder: Path, limit: int | None) -> dict[str, tuple[Path, Path]]:
    """Pair ``input/X`` with ``target/X``, by name without extension.

    Raises:
        SAPDError: a folder or a counterpart is missing.
    """
    sides = []
    for side in ('input', 'target'):
        if not (folder / side).is_dir():
            raise SAPDError(f'--pairs: found no folder {folder / side}, expected input/ and target/ in {folder}.')
        files, root = list_images(folder / side)
        sides.append({mask_key(path, root): path for path in files})
    alone = sorted(sides[0].keys() ^ sides[1].keys())
    if alone:
        raise SAPDError(f'--pairs: found {alone[0]} in only one of input/ and target/ of {folder}, expected pairs.')
    return {key: (sides[0][key], sides[1][key]) for key in sorted(sides[0])[:limit]}


def evaluate(options: argparse.Namespace) -> tuple[list[Score], Extremes]:
    """Check everything, then restore and score each image."""
    check_counts(options, patch=8, limit=2)  # masks are shuffled between at least two images
    pairs, store = find_pairs(options.pairs, options.limit), MaskStore(options.masks)
    keys = {key: template_key(key, options.mask_template) for key in pairs}
    missing = [key for key in keys.values() if key not in store]
    if missing:
        raise SAPDError(
            f'--masks: {options.masks} has no masks for {len(missing)} of {len(keys)} images, among them '
            f"'{missing[0]}'.{nearest(missing[0], store.keys())}"
        )
    shuffled = ShuffledMasks(store, keys.values(), options.seed)
    teacher = Teacher(*find_run(options.run, options.config), options.reference, options.device)
    options.output.mkdir(parents=True, exist_ok=True)
    scores, extremes = [], Extremes()
    patch = options.patch
    for key, (degraded, clean) in tqdm(pairs.items(), 'images', unit='image', mininterval=0.5):
        image, target = read_image(degraded), read_image(clean)
        labels = store.record(keys[key]).labels()
        if labels.shape != target.shape[:2]:
            raise SAPDError(f"--masks: the mask '{keys[key]}' is {labels.shape}, the image {target.shape[:2]}.")
        other = np.asarray(shuffled.record(keys[key])[: target.shape[0], : target.shape[1], ...])[..., 0]
        masks = {'z': labels, 'z_shuffled': other, 'z_empty': np.zeros_like(labels)}
        if patch is None:
            restored = teacher.restore(image, masks)
        else:
            if image.shape != target.shape or min(target.shape[:2]) < patch:
                raise SAPDError(f'--patch: {key} is {image.shape}, its target {target.shape}: no tile of {patch}.')
            height, width = (side // patch * patch for side in target.shape[:2])
            image, target, labels = (array[:height, :width] for array in (image, target, labels))
            restored = in_tiles(teacher, image, masks, patch)
        if restored['y'].shape != target.shape:
            raise SAPDError(f'{key}: restored to {restored["y"].shape}, the target is {target.shape}.')
        if image.shape != target.shape:
            # Super-resolution: bicubic, as without a network.
            image = cv2.resize(image, target.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        restored = {'input': image / 255.0, **restored}
        scores += score(key, restored, target / 255.0, labels)
        extremes.look(key, restored, target / 255.0, labels)
    return scores, extremes


def in_tiles(teacher: Teacher, image: np.ndarray, masks: Mapping[str, np.ndarray], patch: int) -> dict[str, np.ndarray]:
    """Restore an image, whose sides are multiples of ``patch``, tile by tile."""
    whole: dict[str, np.ndarray] = {}
    for top in range(0, image.shape[0], patch):
        for left in range(0, image.shape[1], patch):
            place = slice(top, top + patch), slice(left, left + patch)
            tiles = teacher.restore(image[place], {arm: labels[place] for arm, labels in masks.items()})
            for arm, tile in tiles.items():
                whole.setdefault(arm, np.empty(image.shape, tile.dtype))[place] = tile
    return whole


def run(options: argparse.Namespace) -> None:
    """Evaluate, and write the table, the scores and the picture."""
    scores, extremes = evaluate(options)
    text = table(scores)
    (options.output / 'table.md').write_text(f'{text}\n', encoding='utf-8')
    write_scores(options.output / 'teacher.csv', scores)
    write_png(options.output / 'picture.png', extremes.picture())
    print(f'\n{text}\n\nresults: {options.output}')


main = partial(run_command, 'evaluate-teacher', __doc__, add_arguments, run, interrupted='Interrupted.')
