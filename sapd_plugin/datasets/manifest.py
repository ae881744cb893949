"""Manifests: what a dataset consists of, and the layouts in which it is found. They are data: manifests/*.yml."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sapd_plugin.datasets.patterns import Pattern
from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.structs import Record, convert, read_struct

FOLDER = Path(__file__).parent / 'manifests'


class Layout(Record, frozen=True):
    """Location of the images of a part below the source folder.

    Attributes:
        target_path: pattern of the ground truth.
        input_path: pattern of the degraded images; None if there are none. An input and a target with equal fields
            are a pair.
        name: name of the prepared image, from the fields: ``'{scene}-{frame}'``; by default all fields, joined by '-'.
        pairs_file: a text file with one line per pair; only pairs whose two paths are in a line belong to the part.
        blocks: the patterns name two MATLAB files with arrays (scenes, blocks, H, W, 3).
        spare_targets: targets without an input are not an error (they belong to another split).
        bare: a layout that names no split, such as input/ and target/: used only if the count is right, or if the
            user asks for this split alone.
    """

    target_path: str = msgspec.field(name='target')
    input_path: str | None = msgspec.field(name='input', default=None)
    name: str | None = None
    pairs_file: str | None = msgspec.field(name='list', default=None)
    blocks: bool = False
    spare_targets: bool = False
    bare: bool = False

    @property
    def target(self) -> Pattern:
        """Pattern of the ground truth."""
        return Pattern(self.target_path)

    @property
    def input(self) -> Pattern | None:
        """Pattern of the degraded images, if there are any."""
        return None if self.input_path is None else Pattern(self.input_path)


@dataclass(frozen=True)
class Part:
    """A set of images with a known count; most splits have one part.

    Attributes:
        prefix: put before the prepared names, if a split has several parts.
        counts: the valid numbers of images, the usual one first.
        layouts: the known ones; the one that fits best is used.
    """

    prefix: str
    counts: tuple[int, ...]
    layouts: tuple[Layout, ...]


class SubImages(Record, frozen=True):
    """Settings of the sub-images that images are cut into for training.

    Attributes:
        size: side of a sub-image, pixels.
        step: distance from one to the next, pixels.
        above: an image with a side of at most this many pixels is kept whole.
    """

    size: int
    step: int
    above: int = 0


@dataclass(frozen=True)
class Split:
    """One split of a dataset.

    Attributes:
        name: ``train``, ``test``, ``val`` or ``test/NAME``: its folder below the dataset's.
        parts: their images are brought together.
        sub_images: the settings of its authors, or None.
    """

    name: str
    parts: tuple[Part, ...]
    sub_images: SubImages | None

    @property
    def paired(self) -> bool:
        """True if there are degraded images; all layouts of a manifest agree on that."""
        return self.parts[0].layouts[0].input is not None


@dataclass(frozen=True)
class Manifest:
    """A dataset.

    Attributes:
        name: its name on the command line.
        folder: the folder of the prepared dataset, below the output folder.
        title: the dataset and its paper.
        page: where its authors publish it.
        notes: remarks on its counts and versions.
        splits: by name.
    """

    name: str
    folder: str
    title: str
    page: str
    notes: str
    splits: Mapping[str, Split]


class _PartRecord(Record, frozen=True):
    count: int | tuple[int, ...]
    layouts: tuple[Layout, ...]

    def part(self, prefix: str = '') -> Part:
        counts = (self.count,) if isinstance(self.count, int) else self.count
        return Part(prefix, counts, self.layouts)


class _SplitOfParts(Record, frozen=True):
    parts: dict[str, _PartRecord]
    sub_images: SubImages | None = None

    def split(self, name: str) -> Split:
        parts = tuple(part.part(f'{prefix}-') for prefix, part in self.parts.items())
        return Split(name, parts, self.sub_images)


class _SplitOfOne(_PartRecord, frozen=True):
    sub_images: SubImages | None = None

    def split(self, name: str) -> Split:
        return Split(name, (self.part(),), self.sub_images)


class _ManifestRecord(Record, frozen=True):
    folder: str
    title: str
    page: str
    splits: dict[str, dict]
    notes: str = ''


def dataset_names() -> list[str]:
    """List the datasets that have a manifest."""
    return sorted(path.stem for path in FOLDER.glob('*.yml'))


def load_manifest(name: str) -> Manifest:
    """Read the manifest of a dataset.

    Raises:
        SAPDError: an unknown name, with the nearest one, or an invalid manifest.
    """
    check_choice('dataset', name, dataset_names())
    return read_manifest(FOLDER / f'{name}.yml')


def read_manifest(path: Path) -> Manifest:
    """Read a manifest file.

    Raises:
        SAPDError: an invalid manifest, naming file and key.
    """
    record = read_struct(path, _ManifestRecord)
    splits = {}
    for name, value in record.splits.items():
        where = f'{path.name}.splits.{name}'
        kind: type[_SplitOfParts] | type[_SplitOfOne] = _SplitOfParts if 'parts' in value else _SplitOfOne
        split = convert(value, kind, where).split(name)
        _check_layouts(where, split)
        splits[name] = split
    return Manifest(path.stem, record.folder, record.title, record.page, record.notes, splits)


def _check_layouts(where: str, split: Split) -> None:
    for layout in (layout for part in split.parts for layout in part.layouts):
        if (layout.input is not None) != split.paired:
            raise SAPDError(f'{where}: found layouts with and without input, expected all alike.')
        if layout.input is not None and not set(layout.target.fields) <= set(layout.input.fields):
            raise SAPDError(f'{where}: a field of the target is missing in the input, expected pairs by equal fields.')
