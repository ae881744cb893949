"""Cutting training images into overlapping sub-images, as the authors of the training protocols do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from sapd_plugin.datasets.checks import Shape
from sapd_plugin.datasets.files import Workshop, run_jobs
from sapd_plugin.datasets.manifest import SubImages
from sapd_plugin.datasets.placing import Placement, refuse_foreign_files
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image

RECORD = 'sub_images.json'


@dataclass(frozen=True)
class Cut:
    """The sub-images of one prepared image: their paths and (top, left, height, width)."""

    image: Path
    parts: tuple[tuple[Path, tuple[int, int, int, int]], ...]


def positions(length: int, size: int, step: int) -> list[int]:
    """Return the start of each sub-image along a side; the last one ends with the image.

    >>> positions(1280, 512, 256), positions(720, 512, 256), positions(300, 512, 256)
    ([0, 256, 512, 768], [0, 208], [0])
    """
    if length <= size:
        return [0]
    begins = list(range(0, length - size + 1, step))
    return begins if begins[-1] == length - size else [*begins, length - size]


def windows(shape: Shape, cut: SubImages) -> list[tuple[int, int, int, int]]:
    """List (top, left, height, width) of an image's sub-images, row by row."""
    height, width = shape[:2]
    if min(height, width) <= cut.above:
        return [(0, 0, height, width)]
    size = cut.size
    return [
        (top, left, min(size, height), min(size, width))
        for top in positions(height, size, cut.step)
        for left in positions(width, size, cut.step)
    ]


def plan_cuts(placements: list[Placement], shapes: Mapping[str, Shape], cut: SubImages) -> list[Cut]:
    """List all sub-images of a split, ``input_sub/NAME_s001.png`` and so on; ``shapes`` are those of the images."""
    cuts = []
    for path in (placement.path for placement in placements):
        stem = path.parent.with_name(f'{path.parent.name}_sub') / path.stem
        found = enumerate(windows(shapes[path.stem], cut), 1)
        cuts.append(Cut(path, tuple((Path(f'{stem}_s{number:03d}.png'), window) for number, window in found)))
    return cuts


def missing_cuts(cuts: list[Cut], folder: Path, cut: SubImages) -> list[Cut]:
    """Return the sub-images of a split's folder that are still missing.

    Raises:
        SAPDError: the folder holds sub-images with different settings, or of images that the split lacks.
    """
    record = folder / RECORD
    if record.is_file():
        found, expected = json.loads(record.read_text(encoding='utf-8')), msgspec.structs.asdict(cut)
        if found != expected:
            raise SAPDError(
                f'{record}: found sub-images of {found}, expected {expected}; remove input_sub, target_sub and this '
                'file, or use the same settings.'
            )
    paths = {path for one in cuts for path, _ in one.parts}
    refuse_foreign_files(paths)
    there = {path for place in {path.parent for path in paths} if place.is_dir() for path in place.iterdir()}
    left = [Cut(one.image, tuple(part for part in one.parts if part[0] not in there)) for one in cuts]
    return [one for one in left if one.parts]


def cut_images(cuts: list[Cut], folder: Path, cut: SubImages, workshop: Workshop, workers: int, label: str) -> None:
    """Cut the sub-images of `missing_cuts`, as 8-bit RGB PNG."""
    workshop.write_text(folder / RECORD, json.dumps(msgspec.structs.asdict(cut)) + '\n')
    for place in {path.parent for one in cuts for path, _ in one.parts}:
        place.mkdir(exist_ok=True)

    def make(one: Cut) -> None:
        image = read_image(one.image)
        for path, (top, left, height, width) in one.parts:
            workshop.write_image(path, image[top : top + height, left : left + width])

    run_jobs(make, cuts, workers, label)
