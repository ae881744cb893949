"""The prepared folders input/ and target/: links to the downloaded files, under equal names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import scipy.io

from sapd_plugin.datasets.checks import some
from sapd_plugin.datasets.files import Workshop, run_jobs
from sapd_plugin.datasets.scan import Block, Entry, Source, blocks_header
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image


@dataclass(frozen=True)
class Placement:
    """One file of the prepared layout: its source, and whether it is decoded and re-encoded as PNG."""

    source: Source
    path: Path
    encode: bool


def plan_placements(entries: list[Entry], folder: Path) -> list[Placement]:
    """List the files of a split's folder.

    Both sides of a pair keep their suffix, in lower case, if it is the same: the frameworks look for equal names.
    Otherwise, and for blocks of a MATLAB file, both are PNG.
    """
    placements = []
    for entry in entries:
        suffixes = {'.png' if isinstance(file, Block) else file.suffix.lower() for file in entry.sides.values()}
        suffix = suffixes.pop() if len(suffixes) == 1 else '.png'
        for side, source in entry.sides.items():
            encode = isinstance(source, Block) or source.suffix.lower() != suffix
            placements.append(Placement(source, folder / side / f'{entry.name}{suffix}', encode))
    return placements


def missing_placements(placements: list[Placement], way: str) -> list[Placement]:
    """Return the files that are still missing, and refuse those that come from another source.

    Raises:
        SAPDError: a file is not the expected one, or it does not belong to the dataset.
    """
    refuse_foreign_files({placement.path for placement in placements})
    return [placement for placement in placements if not _is_done(placement, way)]


def refuse_foreign_files(paths: set[Path]) -> None:
    """Refuse other files in the folders of ``paths``: training would read them, too.

    Raises:
        SAPDError: naming the folder and the files.
    """
    for folder in sorted({path.parent for path in paths if path.parent.is_dir()}):
        foreign = sorted(p.name for p in folder.iterdir() if p not in paths and not p.name.startswith('.'))
        if foreign:
            raise SAPDError(
                f'{folder}: found {some(foreign)}, which this dataset does not contain with these options; '
                'remove them, or choose another --output.'
            )


def _is_done(placement: Placement, way: str) -> bool:
    path, source = placement.path, placement.source
    if not os.path.lexists(path):
        return False
    if placement.encode:
        return True
    assert isinstance(source, Path)
    if path.is_symlink() and way == 'copy':
        return False
    if path.exists():
        if os.path.samefile(path, source):
            return True
        mine, theirs = path.stat(), source.stat()
        if not path.is_symlink() and (mine.st_size, int(mine.st_mtime)) == (theirs.st_size, int(theirs.st_mtime)):
            return True
    found = f'a link to {os.readlink(path)}' if path.is_symlink() else 'another file'
    raise SAPDError(f'{path}: found {found}, expected {source}; remove it, or choose another --output.')


def place(placements: list[Placement], way: str, workshop: Workshop, workers: int, label: str) -> None:
    """Make the files of `missing_placements`."""
    for folder in {placement.path.parent for placement in placements}:
        folder.mkdir(parents=True, exist_ok=True)

    def make(placement: Placement) -> None:
        path, source = placement.path, placement.source
        if placement.encode:
            workshop.write_image(path, read_source(source))
            return
        assert isinstance(source, Path)
        if way == 'copy':
            workshop.copy(source, path)
        else:
            workshop.link(source.resolve(), path, hard=way == 'hardlink')

    run_jobs(make, placements, workers, label)
    _load_blocks.cache_clear()


def read_source(source: Source) -> np.ndarray:
    """Decode an image to (H,W,3) uint8 RGB."""
    if isinstance(source, Block):
        return _load_blocks(source.path)[source.scene, source.block]
    return read_image(source)


@lru_cache(maxsize=2)
def _load_blocks(path: Path) -> np.ndarray:
    name, _ = blocks_header(path)
    return scipy.io.loadmat(path, variable_names=[name])[name]
