"""Collects what tools/evaluate_teacher.py wrote into cells' folders, as ``teacher/teacher.csv``, in one CSV."""

from __future__ import annotations

import csv
import os
from fnmatch import fnmatchcase
from pathlib import Path

from tables.collected import read_rows
from tables.results import made_with

PLACE = ('framework', 'table', 'model', 'size', 'arm', 'seed')
COLUMNS = (*PLACE, 'image', 'kind', 'psnr_stock', 'psnr_y', 'psnr_z', 'psnr_z_shuffled', 'psnr_z_empty')
MORE = ('rmse_y_z', 'rmse_y_target', 'commit')


def merge_teachers(path: Path, root: Path, tables: str) -> int:
    """Bring a CSV up to date: a cell's lines take the place of its old ones, other cells' stay.

    Args:
        path: the CSV; a line an image and kind of place.
        root: of results, as tools/reproduce.py has it.
        tables: pattern of the tables' names.

    Returns:
        How many cells were taken.

    Raises:
        SAPDError: a file is not one of tools/evaluate_teacher.py.
    """
    old = read_rows(path, (*COLUMNS, *MORE), exactly=True) if path.is_file() else []
    new: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for found in sorted(root.glob('*/*/*/*/*/*/teacher/teacher.csv')):
        place = found.parents[1].relative_to(root).parts
        if not fnmatchcase(place[1], tables):
            continue
        shared = {**dict(zip(PLACE, place)), 'commit': made_with().get('commit', 'unknown')}
        rows = read_rows(found, ('image', 'kind', 'psnr_y', 'psnr_z'))
        new[place] = [{key: shared.get(key, row.get(key, '')) for key in (*COLUMNS, *MORE)} for row in rows]
    if not new:
        return 0
    for place in [*new]:
        before = [row for row in old if tuple(row[key] for key in PLACE) == place]
        if _without_commit(before) == _without_commit(new[place]):
            new[place] = before  # nothing was measured anew
    lines = [row for row in old if tuple(row[key] for key in PLACE) not in new]
    lines += [row for rows in new.values() for row in rows]
    lines.sort(key=lambda row: [row[key] for key in (*PLACE, 'kind', 'image')])
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'{path.name}.tmp')
    with draft.open('w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, (*COLUMNS, *MORE), lineterminator='\n')
        writer.writeheader()
        writer.writerows(lines)
    os.replace(draft, path)
    return len(new)


def _without_commit(rows: list[dict[str, str]]) -> list[list[str]]:
    return sorted([row[key] for key in (*COLUMNS, *MORE) if key != 'commit'] for row in rows)
