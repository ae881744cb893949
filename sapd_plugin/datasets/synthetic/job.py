"""Degraded pairs of a folder of clean photos: deterministic, resumable, with all parameters recorded."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sapd_plugin.datasets.checks import source_shape
from sapd_plugin.datasets.files import open_workshop, run_jobs
from sapd_plugin.datasets.placing import Placement, refuse_foreign_files
from sapd_plugin.datasets.run import Finish, finish_split, say
from sapd_plugin.datasets.scan import prepared_name
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import list_images, read_image, say_skipped
from sapd_plugin.priors.store.keys import mask_key
from sapd_plugin.texts import read_record

# Keys that a record omits if they have these values, as records from before these keys do.
LATER_KEYS = {'kernel_share': 1}


class Degradation(Protocol):
    """Rain, noise or blur: draws an image's parameters and makes the image from them."""

    name: str
    settings: Any

    def draw(self, random: np.random.Generator) -> dict[str, Any]:
        """Draw the parameters of one image, as JSON values."""

    def render(self, photo: np.ndarray, parameters: dict[str, Any], random: np.random.Generator) -> np.ndarray:
        """Degrade a photo, (H,W,3) uint8 RGB, by what `draw` returned; ``random`` is for this image only."""


@dataclass(frozen=True)
class Drawn:
    """One pair: a photo, the name of the pair and its parameters."""

    photo: Path
    name: str
    parameters: dict[str, Any]


def streams(seed: int, kind: str, name: str, draw: int) -> tuple[np.random.Generator, int]:
    """Return the random stream of an image's parameters, and the seed of the stream of its pixels.

    Both depend only on the seed, the degradation, the photo's name and the number of the draw, so adding a photo does
    not change the others.
    """
    digest = hashlib.sha256(f'{seed}/{kind}/{name}/{draw}'.encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16], 'big')), int.from_bytes(digest[16:20], 'big')


def render(degradation: Degradation, photo: np.ndarray, parameters: dict[str, Any]) -> np.ndarray:
    """Make the degraded image, (H,W,3) uint8 RGB, of one photo's parameters in parameters.json.

    The result is deterministic. If kernels come from files, ``degradation`` must have the recorded ones.
    """
    return degradation.render(photo, parameters, np.random.default_rng(parameters['pixel_seed']))


def draw_pairs(degradation: Degradation, photos: Path | Mapping[str, Path], seed: int, draws: int) -> list[Drawn]:
    """Draw the parameters of all pairs; the arguments are those of `make_pairs`.

    Raises:
        SAPDError: there are no photos, or two would get the same name.
    """
    pairs: dict[str, Drawn] = {}
    named = ((photo, name) for name, photo in photos.items()) if isinstance(photos, Mapping) else _photos(photos)
    for photo, stem in named:
        for number in range(draws):
            name = stem if draws == 1 else f'{stem}_d{number + 1}'
            if name in pairs:
                raise SAPDError(f'--source: {pairs[name].photo} and {photo} have the same name {name}; rename one.')
            random, pixel_seed = streams(seed, degradation.name, stem, number)
            pairs[name] = Drawn(photo, name, {**degradation.draw(random), 'pixel_seed': pixel_seed})
    return list(pairs.values())


def _photos(folder: Path) -> Iterator[tuple[Path, str]]:
    if not folder.is_dir():
        raise SAPDError(f'--source: found no folder {folder}, expected one of clean photos.')
    files, root, skipped = list_images(folder)
    if skipped:
        print(say_skipped(skipped))
    for path in files:
        yield path, prepared_name(mask_key(path, root).replace('/', '-'))


def make_pairs(
    degradation: Degradation,
    photos: Path | Mapping[str, Path],
    folder: Path,
    seed: int,
    draws: int,
    finish: Finish,
    dry_run: bool,
    suffix: str = '.png',
) -> None:
    """Write ``{input,target}/NAME`` of a split, and the parameters as parameters.json and parameters.csv.

    Args:
        degradation: how photos are degraded.
        photos: folder of clean photos, PNG or JPG, searched with its sub-folders; or the photos by name.
        folder: of the split.
        seed: of all random draws, parameters and pixels.
        draws: pairs per photo.
        finish: what else to make.
        dry_run: whether to print what would be done, without writing.
        suffix: of the images: '.png', or '.bmp', which is larger but much faster to read.

    Raises:
        SAPDError: a photo cannot be read, or the folder was made with different settings.
    """
    pairs = draw_pairs(degradation, photos, seed, draws)
    shapes = {pair.name: (*source_shape(pair.photo)[:2], 3) for pair in pairs}
    files = {pair.name: [folder / side / f'{pair.name}{suffix}' for side in ('input', 'target')] for pair in pairs}
    placements = [Placement(pair.photo, path, True) for pair in pairs for path in files[pair.name]]
    refuse_foreign_files({placement.path for placement in placements})
    record = {
        'degradation': degradation.name,
        'seed': seed,
        'draws': draws,
        'settings': {key: list(limits) for key, limits in vars(degradation.settings).items()},
        'kernels': sorted(getattr(degradation, 'kernels', {})),
    }
    record |= {key: value for key, usual in LATER_KEYS.items() if (value := getattr(degradation, key, usual)) != usual}
    check_record(folder / 'parameters.json', record)
    left = [pair for pair in pairs if not all(path.exists() for path in files[pair.name])]
    what = f'{folder.parent.name}/{folder.name}: {len(pairs)} pairs with {degradation.name}'
    with nullcontext() if dry_run else open_workshop(folder.parent) as workshop:
        say(what, len(left), workshop)
        if workshop is not None:
            for side in ('input', 'target'):
                (folder / side).mkdir(parents=True, exist_ok=True)
            images = {pair.name: {'photo': pair.photo.name, **pair.parameters} for pair in pairs}
            workshop.write_text(folder / 'parameters.json', json.dumps({**record, 'images': images}, indent=1) + '\n')
            workshop.write_text(folder / 'parameters.csv', _table(images))

            def make(pair: Drawn) -> None:
                photo, (degraded, clean) = read_image(pair.photo), files[pair.name]
                workshop.write_image(clean, photo)
                workshop.write_image(degraded, render(degradation, photo, pair.parameters))

            run_jobs(make, left, finish.workers, degradation.name)
        finish_split(folder, placements, shapes, finish, workshop)


def check_record(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a folder whose parameters.json, if it exists, differs from ``record``.

    Raises:
        SAPDError: naming the first key that differs.
    """
    if not path.is_file():
        return
    found = {**LATER_KEYS, **read_record(path, 'the parameters of synthetic pairs')}
    for key, value in {**LATER_KEYS, **record}.items():
        if found.get(key) != value:
            raise SAPDError(
                f'{path}: {key}: found {found.get(key)}, expected {value}; use the same settings, or another --name or '
                '--output.'
            )


def _table(images: dict[str, dict[str, Any]]) -> str:
    """Return a CSV table with one line per image and columns such as ``layers.0.angle``."""
    rows = [{'name': name, **dict(_flatten('', parameters))} for name, parameters in images.items()]
    columns = sorted({key for row in rows for key in row} - {'name', 'photo'})
    text = io.StringIO()
    writer = csv.DictWriter(text, ['name', 'photo', *columns], lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _flatten(prefix: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, (dict, list)):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in items:
            yield from _flatten(f'{prefix}.{key}' if prefix else str(key), inner)
    else:
        yield prefix, value
