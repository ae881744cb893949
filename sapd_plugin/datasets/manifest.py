"""Manifests: what a dataset consists of, and the layouts it comes in. They are data: manifests/*.yml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import msgspec

from sapd_plugin.datasets.patterns import Pattern
from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.names import check_name
from sapd_plugin.structs import Record, read_struct

FOLDER = Path(__file__).parent / 'manifests'
_AT_LEAST_1, _AT_LEAST_1_ITEM = msgspec.Meta(ge=1), msgspec.Meta(min_length=1)


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
        bare: a layout that does not name the split, such as input/ and target/: used only if the count is right, or if
            the user asks only for this split.
    """

    target_path: str = msgspec.field(name='target')
    input_path: str | None = msgspec.field(name='input', default=None)
    name: str | None = None
    pairs_file: str | None = msgspec.field(name='list', default=None)
    blocks: bool = False
    spare_targets: bool = False
    bare: bool = False

    def __str__(self) -> str:
        """Return the places, in a readable form."""
        return ' + '.join(str(place) for place in (self.input, self.target, self.pairs_file) if place is not None)

    @property
    def target(self) -> Pattern:
        """Pattern of the ground truth."""
        return Pattern(self.target_path)

    @property
    def input(self) -> Pattern | None:
        """Pattern of the degraded images, if there are any."""
        return None if self.input_path is None else Pattern(self.input_path)


class Part(Record, frozen=True):
    """A set of images with a known count; most splits have one part."""

    count: (
        Annotated[int, _AT_LEAST_1] | Annotated[tuple[int, ...], _AT_LEAST_1_ITEM]
    )  # the valid number of images, or several, the usual one first
    layouts: Annotated[tuple[Layout, ...], _AT_LEAST_1_ITEM]  # the known ones; the one that fits best is used
    prefix: str = ''  # put before the prepared names, if a split has several parts

    @property
    def counts(self) -> tuple[int, ...]:
        """The valid numbers of images, the usual one first."""
        return (self.count,) if isinstance(self.count, int) else self.count


class SubImages(Record, frozen=True):
    """Settings of the sub-images that images are cut into for training."""

    size: Annotated[int, _AT_LEAST_1]  # side of a sub-image, pixels
    step: Annotated[int, _AT_LEAST_1]  # distance from one to the next, pixels
    above: Annotated[int, msgspec.Meta(ge=0)] = 0  # an image with a side of at most this many pixels is kept whole


class Manifest(Record, frozen=True):
    """A dataset; the names of its splits are their folders below its own: train, test, val or test/NAME."""

    folder: str  # of the prepared dataset, below the output folder
    title: str  # the dataset and its paper
    page: str  # the authors' web page
    splits: Annotated[dict[str, Annotated[tuple[Part, ...], _AT_LEAST_1_ITEM]], _AT_LEAST_1_ITEM]
    notes: str = ''  # remarks on its counts and versions
    sub_images: SubImages | None = None  # the settings of its authors for the training split

    @property
    def layouts(self) -> list[Layout]:
        """Layouts of all parts."""
        return [layout for parts in self.splits.values() for part in parts for layout in part.layouts]

    @property
    def paired(self) -> bool:
        """True if there are degraded images; all layouts agree on that."""
        return all(layout.input is not None for layout in self.layouts)


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
    manifest = read_struct(path, Manifest)
    check_name(f'{path.name} folder', manifest.folder)
    for split in manifest.splits:
        for part in split.split('/'):
            check_name(f'{path.name} splits', part)
    for layout in manifest.layouts:
        for pattern in filter(None, (layout.target, layout.input)):
            try:
                pattern.check()
            except re.error as error:
                raise SAPDError(
                    f'{path.name}: found the pattern {pattern.text}, expected a valid one: {error}.'
                ) from error
        if layout.input is not None and not set(layout.target.fields) <= set(layout.input.fields):
            raise SAPDError(
                f'{path.name}: a field of the target {layout.target.text} is missing in the input, expected pairs by '
                'equal fields.'
            )
        if layout.input is None and any(other.input is not None for other in manifest.layouts):
            raise SAPDError(f'{path.name}: found layouts with and without input, expected one kind.')
    return manifest
