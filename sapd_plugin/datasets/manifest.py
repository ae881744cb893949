"""Manifests: what a dataset consists of, and the layouts in which it is found. Data, in configs/datasets/*.yml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sapd_plugin.datasets.patterns import Pattern
from sapd_plugin.errors import SAPDError, check_choice, check_keys

FOLDER = Path(__file__).parent / 'manifests'


@dataclass(frozen=True)
class Layout:
    """Where the images of a part lie below the source folder.

    Attributes:
        target: pattern of the ground truth.
        input: pattern of the degraded images; None where there are none. An input and a target of equal fields are a
            pair.
        name: of the prepared image, from the fields: ``'{scene}-{frame}'``; by default all fields, joined by '-'.
        list: a text file with a line a pair; only the pairs whose two paths are in a line belong to the part.
        blocks: the patterns name two MATLAB files with arrays (scenes, blocks, H, W, 3).
        spare_targets: targets without an input are no mistake (they belong to another split).
        bare: a layout that names no split, such as input/ and target/: taken only where the count is right, or where
            the user asks for this split alone.
    """

    target: Pattern
    input: Pattern | None = None
    name: str | None = None
    list: str | None = None
    blocks: bool = False
    spare_targets: bool = False
    bare: bool = False


@dataclass(frozen=True)
class Part:
    """A set of images with a known count; most splits have one.

    Attributes:
        prefix: put before the prepared names, where a split has several parts.
        counts: the numbers of images that are right, the usual one first.
        layouts: those known; the one that fits best is taken.
    """

    prefix: str
    counts: tuple[int, ...]
    layouts: tuple[Layout, ...]


@dataclass(frozen=True)
class SubImages:
    """How images are cut for training.

    Attributes:
        size: side of a sub-image, pixels.
        step: from one to the next, pixels.
        above: an image with a side of at most this many pixels is kept whole.
    """

    size: int
    step: int
    above: int = 0


@dataclass(frozen=True)
class Split:
    """One split.

    Attributes:
        name: ``train``, ``test``, ``val`` or ``test/NAME``: its folder below the dataset's.
        parts: whose images are brought together.
        sub_images: how the authors cut them, or None.
    """

    name: str
    parts: tuple[Part, ...]
    sub_images: SubImages | None

    @property
    def paired(self) -> bool:
        """Tell whether there are degraded images; by the manifest, all layouts agree on that."""
        return self.parts[0].layouts[0].input is not None


@dataclass(frozen=True)
class Manifest:
    """A dataset.

    Attributes:
        name: on the command line.
        folder: of the prepared dataset, below the output folder.
        title: what it is, with its paper.
        page: where its authors give it away.
        notes: what one has to know of its counts and versions.
        splits: by name.
    """

    name: str
    folder: str
    title: str
    page: str
    notes: str
    splits: Mapping[str, Split]


def dataset_names() -> list[str]:
    """List the datasets that have a manifest."""
    return sorted(path.stem for path in FOLDER.glob('*.yml'))


def load_manifest(name: str) -> Manifest:
    """Read the manifest of a dataset.

    Raises:
        SAPDError: for an unknown name, naming the nearest one, or a manifest that is not well formed.
    """
    check_choice('dataset', name, dataset_names())
    return read_manifest(FOLDER / f'{name}.yml')


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file.

    Raises:
        SAPDError: for what is not well formed, naming file and key.
    """
    data = yaml.safe_load(path.read_text(encoding='utf-8'))
    where = str(path)
    _check(where, data, ['folder', 'title', 'page', 'splits'], ['notes'])
    splits = {name: _split(f'{where}: splits.{name}', name, split) for name, split in data['splits'].items()}
    return Manifest(path.stem, data['folder'], data['title'], data['page'], data.get('notes', ''), splits)


def _split(where: str, name: str, data: dict[str, Any]) -> Split:
    if 'parts' in data:
        _check(where, data, ['parts'], ['sub_images'])
        parts = [_part(f'{where}.parts.{prefix}', f'{prefix}-', part) for prefix, part in data['parts'].items()]
    else:
        _check(where, data, ['count', 'layouts'], ['sub_images'])
        parts = [_part(where, '', {key: value for key, value in data.items() if key != 'sub_images'})]
    cut = data.get('sub_images')
    if cut is not None:
        _check(f'{where}.sub_images', cut, ['size', 'step'], ['above'])
    split = Split(name, tuple(parts), SubImages(**cut) if cut else None)
    if any((layout.input is not None) != split.paired for part in parts for layout in part.layouts):
        raise SAPDError(f'{where}: found layouts with and without input, expected all alike.')
    return split


def _part(where: str, prefix: str, data: dict[str, Any]) -> Part:
    _check(where, data, ['count', 'layouts'], [])
    counts = data['count'] if isinstance(data['count'], list) else [data['count']]
    layouts = [_layout(f'{where}.layouts[{index}]', layout) for index, layout in enumerate(data['layouts'])]
    return Part(prefix, tuple(counts), tuple(layouts))


def _layout(where: str, data: dict[str, Any]) -> Layout:
    optional = [field for field in Layout.__dataclass_fields__ if field != 'target']
    _check(where, data, ['target'], optional)
    values = dict(data, target=Pattern(data['target']), input=Pattern(data['input']) if 'input' in data else None)
    layout = Layout(**values)
    if layout.input is not None and not set(layout.target.fields) <= set(layout.input.fields):
        raise SAPDError(f'{where}: found a field of the target that the input lacks, expected pairs by equal fields.')
    return layout


def _check(where: str, data: object, required: list[str], optional: list[str]) -> None:
    if not isinstance(data, dict):
        raise SAPDError(f'{where}: found {type(data).__name__}, expected keys and values.')
    check_keys(where, data, [*required, *optional])
    for key in required:
        if key not in data:
            raise SAPDError(f"{where}: the key '{key}' is missing.")
