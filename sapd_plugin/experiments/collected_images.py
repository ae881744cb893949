"""Collects what other tools wrote into cells' folders, a line an image, in one CSV each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

from sapd_plugin.experiments.collected import CELL, read_rows, write_rows
from sapd_plugin.experiments.results import made_with

COMMIT = 'commit'


@dataclass(frozen=True)
class Measurement:
    """A file that a tool leaves below cells' folders.

    Attributes:
        pattern: its place below a cell's folder; what stands for the ``*`` goes into the column ``test``.
        keys: columns that say what a line is about.
        needed: columns that the file has to have, beside the keys.
        values: columns of numbers; empty where the file has none.
        names: of columns that have another name in the file.
    """

    pattern: str
    keys: tuple[str, ...]
    needed: tuple[str, ...]
    values: tuple[str, ...]
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> tuple[str, ...]:
        """Those of the CSV that is collected."""
        test = ('test',) if '*' in self.pattern else ()
        return (*CELL, *test, *self.keys, *self.values, COMMIT)

    def read(self, path: Path, place: Sequence[str], commit: str) -> list[dict[str, str]]:
        """A cell's lines.

        Raises:
            SAPDError: the file lacks a column of `keys` or `needed`.
        """
        shared = {**dict(zip(CELL, place)), 'test': path.parent.name, COMMIT: commit}
        rows = read_rows(path, [self.names.get(key, key) for key in (*self.keys, *self.needed)])
        own = (*self.keys, *self.values)
        return [
            {key: row.get(self.names.get(key, key), '') if key in own else shared[key] for key in self.columns}
            for row in rows
        ]


TEACHER = Measurement(
    'teacher/teacher.csv',
    ('kind', 'image'),
    ('psnr_y', 'psnr_z'),
    ('psnr_stock', 'psnr_y', 'psnr_z', 'psnr_z_shuffled', 'psnr_z_empty', 'rmse_y_z', 'rmse_y_target'),
)
"""Of tools/evaluate_teacher.py."""
SEGMENTATION = Measurement(
    'segmentation/*/images.csv',
    ('photos', 'image'),
    ('covering',),
    ('mIoU', 'covering', 'covered', 'matched IoU', 'human best', 'human mean', 'masks', 'coverage'),
    {'photos': 'arm'},
)
"""Of tools/evaluate_segmentation.py; ``photos``: what was cut, degraded, restored by stock, ..."""


def merge_images(what: Measurement, path: Path, root: Path, tables: str) -> int:
    """Bring a CSV up to date: a cell's lines take the place of its old ones, other cells' stay.

    Args:
        what: is collected.
        path: the CSV.
        root: of results, as tools/reproduce.py has it.
        tables: pattern of the tables' names.

    Returns:
        How many files were taken.

    Raises:
        SAPDError: a file is not one of that tool.
    """
    old = read_rows(path, what.columns, exactly=True) if path.is_file() else []
    about = [key for key in what.columns if key in (*CELL, 'test')]
    commit = made_with().get(COMMIT, 'unknown')
    new: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for found in sorted(root.glob(f'*/*/*/*/*/*/{what.pattern}')):
        place = found.relative_to(root).parts[: len(CELL)]
        if fnmatchcase(place[1], tables):
            rows = what.read(found, place, commit)
            key = tuple(rows[0][name] for name in about) if rows else ()
            before = [row for row in old if tuple(row[name] for name in about) == key]
            # At the commit of before where nothing was measured anew.
            new[key] = before if _without_commit(before) == _without_commit(rows) else rows
    if not new:
        return 0
    lines = [row for row in old if tuple(row[name] for name in about) not in new]
    lines += [row for rows in new.values() for row in rows]
    lines.sort(key=lambda row: [row[key] for key in (*about, *what.keys)])
    write_rows(path, what.columns, lines)
    return len(new)


def _without_commit(rows: Sequence[Mapping[str, str]]) -> list[list[str]]:
    return sorted([value for key, value in row.items() if key != COMMIT] for row in rows)
