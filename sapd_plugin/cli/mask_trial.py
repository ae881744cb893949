"""The second mode of ``sapd evaluate-teacher``: before any SAPD training, can masks help on these pairs?"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from sapd_plugin.cli.common import check_counts
from sapd_plugin.core.fusion.region import REGION_FUSIONS
from sapd_plugin.errors import SAPDError, check_choice, nearest
from sapd_plugin.evaluation.mask_arms import MaskArms
from sapd_plugin.evaluation.mask_trial import Plan
from sapd_plugin.evaluation.mask_verdict import CASCADE, TWIN, Verdict
from sapd_plugin.evaluation.networks import build_restorer
from sapd_plugin.evaluation.pairs import Pairs, find_pairs
from sapd_plugin.evaluation.trial_photos import Masks, masks_of_restored, photos_of_arms, restore_photos, stored_masks
from sapd_plugin.experiments.results import read_csv
from sapd_plugin.files import write_atomically
from sapd_plugin.home import expanded
from sapd_plugin.image_header import image_size
from sapd_plugin.names import check_name
from sapd_plugin.priors.extraction.images import load_image
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.digests import digest_file
from sapd_plugin.priors.store.manifest import differences
from sapd_plugin.progress import Bar
from sapd_plugin.texts import read_json
from sapd_plugin.user_modules import import_modules

FELZENSZWALB = 'felzenszwalb'  # in place of a store: regions of y, by this segmenter
INPUTS = {'both': ('restored', 'degraded'), 'restored': ('restored',)}
KEYS = ['arm', 'seed', 'masks', 'photo']
EVERY = 5  # without --test-pairs, every fifth pair tests
DEFAULTS = {'iterations': 700, 'batch': 4, 'seeds': 3, 'fusion': 'modulate', 'inputs': 'both'}
PATCH = 128
TABLE, RECORD = 'trial.csv', 'trial.json'


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


def run(options: argparse.Namespace) -> None:
    """Run the trial, or resume it, and write table.md."""
    for name, value in DEFAULTS.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    patch = PATCH if options.patch is None else options.patch
    check_counts(options, seeds=2, iterations=1, batch=1, limit=1, patch=16)
    if patch % 2:
        raise SAPDError(f'--patch: found {patch}, expected an even number of pixels.')
    check_choice('--fusion', options.fusion, REGION_FUSIONS)
    check_choice('--inputs', options.inputs, INPUTS)
    import_modules(options.imports)
    training, testing = _split(options)
    pairs = {**training, **testing}
    _check_sizes(pairs, patch)
    kinds = _open_masks(options, pairs)
    if options.shuffled is not None:
        check_choice('--shuffled', options.shuffled, list(kinds))
    config, checkpoint = options.restored_by
    restorer = build_restorer(config, checkpoint, options.device)
    if restorer.note:
        print(f'note: {restorer.note}')
    plan = Plan(iterations=options.iterations, patch=patch, batch=options.batch)
    settings = {
        'student': restorer.settings,
        'masks': {name: masks.settings for name, masks in kinds.items()},
        'pairs': _digest(pairs),
        'training': sorted(training),
        'testing': sorted(testing),
        'plan': asdict(plan),
        'fusion': options.fusion,
        'inputs': list(INPUTS[options.inputs]),
        'seed': options.seed,
    }
    settings, rows = _resume(options.output, json.loads(json.dumps(settings)))
    photos = restore_photos(pairs, restorer, kinds)
    by_arm = photos_of_arms(photos, training, testing, options.shuffled, options.seed)
    arms = MaskArms(by_arm, plan, options.fusion, INPUTS[options.inputs], options.seeds, options.device)
    write_atomically(options.output / RECORD, json.dumps(settings, indent=1) + '\n')
    verdict = Verdict(_train(arms, rows, options.output / TABLE))
    said = '\n'.join(f'- {sentence}' for sentence in verdict.sentences())
    counts = f'{len(training)} photos to train on, {len(testing)} to test on, {options.seeds} seeds'
    about = (
        f'PSNR in dB in tiles of {patch} pixels, with 95 % intervals, over the seeds unless it says photos. {counts}.'
    )
    text = f'{said}\n\n{verdict.table()}\n\n{about}\n'
    write_atomically(options.output / 'table.md', text)
    print(f'\n{text}\nresults: {options.output}')


def _split(options: argparse.Namespace) -> tuple[Pairs, Pairs]:
    """Return the pairs to train on and those to test on."""
    pairs = find_pairs(options.pairs, options.limit, '--pairs')
    if options.test_pairs is not None:
        testing = find_pairs(options.test_pairs, None, '--test-pairs')
        if both := sorted(pairs.keys() & testing.keys()):
            raise SAPDError(f'--test-pairs: found {both[0]}, which is in --pairs, too; expected other photos.')
        if len(testing) < 2:
            raise SAPDError(f'--test-pairs: found {len(testing)} pair, expected 2 or more.')
        return pairs, testing
    if len(pairs) < 2 * EVERY:
        raise SAPDError(f'--pairs: found {len(pairs)} pairs, expected {2 * EVERY} or more, or --test-pairs.')
    testing = {key: pair for number, (key, pair) in enumerate(pairs.items()) if number % EVERY == EVERY - 1}
    return {key: pair for key, pair in pairs.items() if key not in testing}, testing


def _check_sizes(pairs: Pairs, patch: int) -> None:
    """Refuse photos that are smaller than a patch, and pairs of two sizes. Reads headers alone."""
    for key, (degraded, clean) in pairs.items():
        found, expected = image_size(degraded), image_size(clean)
        if found != expected:
            raise SAPDError(
                f'--pairs: {key} is {_size(found)}, its target {_size(expected)}; expected equal sizes. This trial '
                'does not serve super-resolution.'
            )
        if min(expected) < patch:
            raise SAPDError(
                f'--patch: found {patch}, but {key} is {_size(expected)}; expected at most {min(expected)}.'
            )


def _size(shape: tuple[int, int]) -> str:
    return f'{shape[0]}x{shape[1]}'


def _open_masks(options: argparse.Namespace, pairs: Pairs) -> dict[str, Masks]:
    """Open every store of --masks, and check that it holds the masks of all pairs."""
    kinds: dict[str, Masks] = {}
    for item in options.masks:
        bare = expanded(item).exists() or '=' not in item
        name, _, value = ('', '', item) if bare else item.partition('=')
        path = expanded(value)
        name = name or path.resolve().name
        check_name(f"--masks: '{item}'", name)
        if name in (CASCADE, TWIN):
            raise SAPDError(f"--masks: found the name '{name}', which is an arm without masks; expected another name.")
        if name in kinds:
            raise SAPDError(f"--masks: found the name '{name}' twice, expected NAME=STORE with another name.")
        if path.exists():
            kinds[name] = stored_masks(MaskStore(path), pairs, options.mask_template)
        elif value == FELZENSZWALB:
            kinds[name] = masks_of_restored(FELZENSZWALB, build_segmenter(FELZENSZWALB))
        else:
            hint = nearest(value, [FELZENSZWALB])
            raise SAPDError(f"--masks: found no mask store {path}, expected one, or '{FELZENSZWALB}'.{hint}")
    return kinds


def _digest(pairs: Pairs) -> str:
    """Return a digest of all images: other photos may have the same names."""
    whole = hashlib.sha256()
    for _, pair in Bar(sorted(pairs.items()), 'read', unit='pair'):
        for path in pair:
            whole.update(digest_file(load_image(path)))
    return whole.hexdigest()


def _resume(folder: Path, settings: dict[str, Any]) -> tuple[dict[str, Any], pd.DataFrame]:
    """Return the settings and rows of the trial in a folder; kinds of masks may be added to those that it has."""
    table, record = folder / TABLE, folder / RECORD
    folder.mkdir(parents=True, exist_ok=True)
    if not table.is_file():
        return settings, pd.DataFrame()
    found = read_json(record, 'the settings of a trial') if record.is_file() else None
    if not isinstance(found, dict) or not isinstance(found.get('masks'), dict):
        raise SAPDError(f'--output: found {table} without the settings of its trial, expected a trial or a new folder.')
    old, new = found['masks'], settings['masks']
    known = {name: old[name] for name in new if name in old}  # others are added to the trial
    expected = {**settings, 'masks': {name: new[name] for name in known}}
    if changed := differences({**found, 'masks': known}, expected):
        raise SAPDError(f'--output: {folder} holds a trial with different settings: {"; ".join(changed)}.')
    return {**settings, 'masks': {**old, **new}}, read_csv(table, KEYS, ['seed', 'gain', 'whole'])


def _train(arms: MaskArms, rows: pd.DataFrame, path: Path) -> pd.DataFrame:
    """Train the arms that ``rows`` lacks, and return the rows of all; the CSV is written after each arm."""
    rows = rows.astype({'seed': int}) if len(rows) else pd.DataFrame(columns=[*KEYS, 'gain', 'whole'])
    todo = []
    for arm, seed in arms:
        mine = rows[(rows['arm'] == arm) & (rows['seed'] == seed)]
        expected = {(masks, photo.name) for masks, (tested, _) in arms.tests(arm).items() for photo in tested}
        if set(zip(mine['masks'], mine['photo'])) != expected:
            todo.append((arm, seed))
            rows = rows.drop(mine.index)
    with Bar(total=sum(arms.steps(arm) for arm, _ in todo), desc='train', unit='step') as bar:
        for arm, seed in todo:
            bar.say(f'{arm}, seed {seed}')
            made = pd.DataFrame(arms.measure(arm, seed, bar.update))
            rows = pd.concat([rows, made], ignore_index=True) if len(rows) else made
            write_atomically(path, rows.to_csv(index=False, lineterminator='\n'))
    by_arm = dict(list(rows.groupby(['arm', 'seed'], sort=False)))
    return pd.concat([by_arm[place] for place in arms], ignore_index=True)


def given(options: argparse.Namespace) -> Iterator[str]:
    """Yield the options of this mode that the command line names."""
    for name in ('test_pairs', 'shuffled', *DEFAULTS):
        if getattr(options, name) is not None:
            yield f'--{name.replace("_", "-")}'
