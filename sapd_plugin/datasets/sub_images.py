"""Cutting training images into overlapping sub-images, as the authors of the training protocols do."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import msgspec

from sapd_plugin.datasets.checks import Shape
from sapd_plugin.datasets.files import Workshop, run_jobs
from sapd_plugin.datasets.manifest import SubImages
from sapd_plugin.datasets.placing import Placement, refuse_foreign_files
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.texts import read_record

RECORD = 'sub_images.json'


# For each prepared image: the paths of its sub-images and their (top, left, height, width).
Window = tuple[int, int, int, int]
Cuts = dict[Path, list[tuple[Path, Window]]]


def positions(length: int, size: int, step: int) -> list[int]:
    """Return the start of each sub-image along an axis; the last one ends with the image.

    >>> positions(1280, 512, 256), positions(720, 512, 256), positions(300, 512, 256)
    ([0, 256, 512, 768], [0, 208], [0])
    """
    if length <= size:
        return [0]
    begins = list(range(0, length - size + 1, step))
    return begins if begins[-1] == length - size else [*begins, length - size]


def windows(shape: Shape, cut: SubImages) -> list[Window]:
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


def plan_cuts(placements: list[Placement], shapes: Mapping[str, Shape], cut: SubImages) -> Cuts:
    """List all sub-images of a split, ``input_sub/NAME_s001.png`` and so on; ``shapes`` are those of the images."""
    cuts = {}
    for path in (placement.path for placement in placements):
        stem = path.parent.with_name(f'{path.parent.name}_sub') / path.stem
        found = enumerate(windows(shapes[path.stem], cut), 1)
        cuts[path] = [(Path(f'{stem}_s{number:03d}.png'), window) for number, window in found]
    return cuts


def missing_cuts(cuts: Cuts, folder: Path, cut: SubImages) -> Cuts:
    """Return the sub-images of a split's folder that are still missing.

    Raises:
        SAPDError: the folder holds sub-images with different settings, or of images that the split lacks.
    """
    record = folder / RECORD
    if record.is_file():
        found, expected = read_record(record, 'the settings of sub-images'), msgspec.structs.asdict(cut)
        if found != expected:
            raise SAPDError(
                f'{record}: found sub-images of {found}, expected {expected}; remove input_sub, target_sub and this '
                'file, or use the same settings.'
            )
    paths = {path for parts in cuts.values() for path, _ in parts}
    refuse_foreign_files(paths)
    there = {path for place in {path.parent for path in paths} if place.is_dir() for path in place.iterdir()}
    left = {image: [part for part in parts if part[0] not in there] for image, parts in cuts.items()}
    return {image: parts for image, parts in left.items() if parts}


def cut_images(cuts: Cuts, folder: Path, cut: SubImages, workshop: Workshop, workers: int, label: str) -> None:
    """Cut the sub-images of `missing_cuts`, as 8-bit RGB PNG."""
    workshop.write_text(folder / RECORD, json.dumps(msgspec.structs.asdict(cut)) + '\n')
    for place in {path.parent for parts in cuts.values() for path, _ in parts}:
        place.mkdir(exist_ok=True)

    def make(path: Path) -> None:
        image = read_image(path)
        for part, (top, left, height, width) in cuts[path]:
            workshop.write_image(part, image[top : top + height, left : left + width])

    run_jobs(make, list(cuts), workers, label)
