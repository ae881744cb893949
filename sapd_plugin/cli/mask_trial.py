"""The second mode of ``sapd evaluate-teacher``: before any SAPD training, can masks help on these pairs?"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from sapd_plugin.cli.common import import_modules
from sapd_plugin.core.fusion.region import REGION_FUSIONS
from sapd_plugin.errors import SAPDError, check_choice, check_count, nearest
from sapd_plugin.evaluation.mask_arms import MaskArms, Photos
from sapd_plugin.evaluation.mask_trial import Photo, Plan
from sapd_plugin.evaluation.mask_verdict import CASCADE, TWIN, Verdict
from sapd_plugin.evaluation.networks import build_restorer
from sapd_plugin.experiments.results import read_csv
from sapd_plugin.files import write_atomically
from sapd_plugin.names import check_name
from sapd_plugin.priors.extraction.images import load_image, read_image
from sapd_plugin.priors.segmenters import Segmenter, build_segmenter
from sapd_plugin.priors.shuffled import ShuffledMasks
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.keys import template_key
from sapd_plugin.priors.store.manifest import differences
from sapd_plugin.priors.verification import ImageFile, verify_images
from sapd_plugin.progress import Bar
from sapd_plugin.texts import read_json

FELZENSZWALB = 'felzenszwalb'  # in place of a store: regions of y, by this segmenter
INPUTS = {'both': ('restored', 'degraded'), 'restored': ('restored',)}
KEYS = ['arm', 'seed', 'masks', 'photo']
EVERY = 5  # without --test-pairs, every fifth pair is one
DEFAULTS = {'iterations': 700, 'batch': 4, 'seeds': 3, 'fusion': 'modulate', 'inputs': 'both'}
PATCH = 128
Pairs = Mapping[str, tuple[Path, Path]]
Labels = Callable[[str, np.ndarray], np.ndarray]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this mode. Their defaults are None, so that the other mode can refuse them."""
    add = parser.add_argument_group('with --restored-by').add_argument
    add('--test-pairs', type=Path, help=f'pairs to test on (default: every {EVERY}th of --pairs)')
    add('--shuffled', metavar='NAME', help="add an arm that is trained and tested with another photo's masks of NAME")
    add('--fusion', help=f'of SPF: {", ".join(REGION_FUSIONS)} (default: {DEFAULTS["fusion"]})')
    add('--inputs', help=f'of SPF: {" or ".join(INPUTS)} (default: both, the restored and the degraded image)')
    for name, what in (('iterations', 'steps of each training'), ('batch', 'patches per step')):
        add(f'--{name}', type=int, metavar='N', help=f'{what} (default: {DEFAULTS[name]})')
    add('--seeds', type=int, metavar='N', help=f'trainings per arm, at least 2 (default: {DEFAULTS["seeds"]})')


class Masks(NamedTuple):
    """One kind of masks.

    Attributes:
        settings: identify it in trial.json.
        labels: returns the label map of a photo, given its key and y.
        shuffled: the same of another photo.
    """

    settings: str
    labels: Labels
    shuffled: Labels


def run(options: argparse.Namespace, find_pairs: Callable[[Path, int | None], Pairs]) -> None:
    """Run the trial, or resume it, and write table.md."""
    for name, value in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    patch = PATCH if options.patch is None else options.patch
    plan = Plan(iterations=options.iterations, patch=patch, batch=options.batch)
    check_count('--seeds', options.seeds, 2)
    check_count('--patch', patch, 16)
    if patch % 2:
        raise SAPDError(f'--patch: found {patch}, expected an even number of pixels.')
    check_choice('--fusion', options.fusion, REGION_FUSIONS)
    check_choice('--inputs', options.inputs, INPUTS)
    import_modules(options.imports)
    training, testing = _split(options, find_pairs)
    pairs = {**training, **testing}
    kinds = _open_masks(options, pairs)
    if options.shuffled is not None:
        check_choice('--shuffled', options.shuffled, list(kinds))
    config, checkpoint = options.restored_by
    restorer = build_restorer(config, checkpoint, options.device)
    if restorer.note:
        print(f'note: {restorer.note}')
    settings = {
        'student': restorer.settings,
        'masks': {name: masks.settings for name, masks in kinds.items()},
        'shuffled': options.shuffled,
        'training': sorted(training),
        'testing': sorted(testing),
        'plan': asdict(plan),
        'fusion': options.fusion,
        'inputs': list(INPUTS[options.inputs]),
        'seed': options.seed,
    }
    rows = _resume(options.output, json.loads(json.dumps(settings)))
    photos = _restore(pairs, restorer, kinds, patch)
    named = {name: _photos(photos[name], training, testing) for name in kinds}
    if options.shuffled is not None:
        chosen = photos[options.shuffled]
        swapped = {key: (other, own) for key, (own, other) in chosen.items()}
        named[f'{options.shuffled} of another photo'] = _photos(swapped, training, testing)
    arms = MaskArms(named, plan, options.fusion, INPUTS[options.inputs], options.seeds, options.device)
    rows = _train(arms, rows, options.output / 'trial.csv')
    verdict = Verdict(rows)
    said = '\n'.join(f'- {sentence}' for sentence in verdict.sentences())
    counts = f'{len(training)} photos to train on, {len(testing)} to test on, {options.seeds} seeds'
    about = f'PSNR in dB in tiles of {patch} pixels, with 95 % intervals over the seeds. {counts}.'
    text = f'{said}\n\n{verdict.table()}\n\n{about}\n'
    write_atomically(options.output / 'table.md', text)
    print(f'\n{text}\nresults: {options.output}')


def _split(options: argparse.Namespace, find_pairs: Callable[[Path, int | None], Pairs]) -> tuple[Pairs, Pairs]:
    """Return the pairs to train on and those to test on."""
    pairs = find_pairs(options.pairs, options.limit)
    training: Pairs
    testing: Pairs
    if options.test_pairs is None:
        testing = {key: pair for number, (key, pair) in enumerate(pairs.items()) if number % EVERY == EVERY - 1}
        training = {key: pair for key, pair in pairs.items() if key not in testing}
        where, few = '--pairs', 2 * EVERY
    else:
        training, testing = pairs, find_pairs(options.test_pairs, None)
        if both := sorted(training.keys() & testing.keys()):
            raise SAPDError(f'--test-pairs: found {both[0]}, which is in --pairs, too; expected other photos.')
        where, few = '--test-pairs', 2
    if len(testing) < 2 or not training:
        found = len(pairs) if options.test_pairs is None else len(testing)
        raise SAPDError(f'{where}: found {found} pairs, expected {few} or more.')
    return training, testing


def _open_masks(options: argparse.Namespace, pairs: Pairs) -> dict[str, Masks]:
    """Open every store of --masks, and check that it holds the masks of all pairs."""
    kinds: dict[str, Masks] = {}
    for item in options.masks:
        name, equals, value = item.rpartition('=')
        path = Path(value).expanduser()
        name = name if equals else path.name
        check_name(f"--masks: '{item}'", name)
        if name in kinds or name in (CASCADE, TWIN):
            raise SAPDError(f"--masks: found the name '{name}' twice, expected NAME=STORE with a different name.")
        if value == FELZENSZWALB and not path.exists():
            kinds[name] = _felzenszwalb(build_segmenter(FELZENSZWALB))
        else:
            kinds[name] = _stored(MaskStore(path), options, pairs)
    return kinds


def _stored(store: MaskStore, options: argparse.Namespace, pairs: Pairs) -> Masks:
    keys = {key: template_key(key, options.mask_template) for key in pairs}
    missing = [key for key in keys.values() if key not in store]
    if missing:
        raise SAPDError(
            f'--masks: {store.path} has no masks for {len(missing)} of {len(keys)} images, among them '
            f"'{missing[0]}'.{nearest(missing[0], store.keys())}"
        )
    files = [
        (keys[key], [ImageFile(str(path), partial(load_image, path)) for path in reversed(pair)])
        for key, pair in pairs.items()
    ]
    print(f'{store.path}: {verify_images("--masks", store, files)}')
    shuffled = ShuffledMasks(store, keys.values(), options.seed)

    def own(key: str, restored: np.ndarray) -> np.ndarray:
        return store.record(keys[key]).labels()

    def other(key: str, restored: np.ndarray) -> np.ndarray:
        mask = shuffled.record(keys[key])
        return np.asarray(mask[: mask.shape[0], : mask.shape[1], ...])[..., 0]

    return Masks(store.fingerprint, own, other)


def _felzenszwalb(segmenter: Segmenter) -> Masks:
    def own(key: str, restored: np.ndarray) -> np.ndarray:
        return segmenter(restored).labels

    # Of the same photo, turned by half: as many regions, in places that have nothing to do with the photo.
    return Masks(FELZENSZWALB, own, lambda key, restored: np.ascontiguousarray(own(key, restored)[::-1, ::-1]))


def _restore(
    pairs: Pairs, restorer: Callable[[np.ndarray], np.ndarray], kinds: Mapping[str, Masks], patch: int
) -> dict[str, dict[str, tuple[Photo, Photo]]]:
    """Return each photo with its own masks and with another photo's, by kind of masks and key."""
    found: dict[str, dict[str, tuple[Photo, Photo]]] = {name: {} for name in kinds}
    for key, (degraded, clean) in Bar(pairs.items(), 'restore', len(pairs), unit='image'):
        image, target = read_image(degraded), read_image(clean)
        if image.shape != target.shape:
            raise SAPDError(
                f'--pairs: {key} is {image.shape[:2]}, its target {target.shape[:2]}; expected equal sizes. This trial '
                'does not serve super-resolution.'
            )
        if min(target.shape[:2]) < patch:
            raise SAPDError(f'--patch: found {patch}, but {key} is {target.shape[:2]}; expected at most that.')
        restored = restorer(image)
        if restored.shape != target.shape:
            raise SAPDError(f'{key}: restored to {restored.shape}, the target is {target.shape}.')
        gt, x, y = (_as_tensor(each) for each in (target, image, restored))
        for name, masks in kinds.items():
            labels = [make(key, restored) for make in (masks.labels, masks.shuffled)]
            if labels[0].shape != target.shape[:2]:
                raise SAPDError(f"--masks: {name}: the mask of '{key}' is {labels[0].shape}, the image {target.shape}.")
            own, other = (Photo(key, gt, x, y, _even(torch.from_numpy(each.astype(np.int32))[None])) for each in labels)
            found[name][key] = own, other
    return found


def _as_tensor(image: np.ndarray) -> torch.Tensor:
    """Return (H,W,3) uint8 as (3,H,W) in [0, 1], in half precision, which is exact enough for 8 bits."""
    return _even(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).half() / 255)


def _even(image: torch.Tensor) -> torch.Tensor:
    """Cut the last row and column of an odd size off: h works at half size."""
    return image[..., : image.shape[-2] // 2 * 2, : image.shape[-1] // 2 * 2]


def _photos(photos: Mapping[str, tuple[Photo, Photo]], training: Pairs, testing: Pairs) -> Photos:
    return Photos(
        [photos[key][0] for key in training], [photos[key][0] for key in testing], [photos[key][1] for key in testing]
    )


def _resume(folder: Path, settings: Mapping[str, Any]) -> pd.DataFrame:
    """Return the rows of a trial with the same settings, and keep the settings for the next one."""
    table, record = folder / 'trial.csv', folder / 'trial.json'
    folder.mkdir(parents=True, exist_ok=True)
    if record.is_file():
        found = read_json(record, 'the settings of a trial')
        if not isinstance(found, dict):
            raise SAPDError(f'{record}: found {type(found).__name__}, expected the settings of a trial.')
        if changed := differences(found, settings):
            raise SAPDError(f'--output: {folder} holds a trial with different settings: {"; ".join(changed)}.')
    elif table.exists():
        raise SAPDError(
            f'--output: found {table} without trial.json, expected a trial of this command or a new folder.'
        )
    write_atomically(record, json.dumps(settings, indent=1) + '\n')
    if not table.is_file():
        return pd.DataFrame()
    return read_csv(table, KEYS, ['seed', 'gain', 'whole'])


def _train(arms: MaskArms, rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Train the arms that ``rows`` lacks, and return all rows; the CSV is written after each arm."""
    done = set(zip(rows['arm'], rows['seed'].astype(int))) if len(rows) else set()
    todo = [each for each in arms if each not in done]
    with Bar(total=len(todo) * arms.plan.iterations, desc='train', unit='step') as bar:
        for arm, seed in todo:
            bar.say(f'{arm}, seed {seed}')
            rows = pd.concat([rows, pd.DataFrame(arms.measure(arm, seed, bar.update))], ignore_index=True)
            write_atomically(path, rows.to_csv(index=False, lineterminator='\n'))
    kept = list(arms)  # a trial of more seeds may have been made before
    return rows[[(arm, int(seed)) in kept for arm, seed in zip(rows['arm'], rows['seed'])]]


def given(options: argparse.Namespace) -> Iterator[str]:
    """Yield the options of this mode that the command line names."""
    for name in ('test_pairs', 'shuffled', *DEFAULTS):
        if getattr(options, name) is not None:
            yield f'--{name.replace("_", "-")}'
