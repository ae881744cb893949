"""Update results/*.csv with the measurements below a folder of results.

python -m studies.sam_priors.collect [--output runs/tables] [--tables 'mini*']

cells.csv gets every finished cell's results.json: one row per cell, test set and metric, at full precision.
teacher.csv gets what `sapd evaluate-teacher --run` wrote to CELL/teacher, trial.csv what `--restored-by` wrote to
CELL/trial, and segmentation.csv what `sapd evaluate-segmentation` wrote to CELL/segmentation/TEST: one row per image.
New measurements of a cell replace its old rows; the rows of other cells stay. Exit status: 0 done, 2 a mistake in the
command, a result or a CSV.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pandas as pd

from sapd_plugin.cli.common import exit_status
from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.results import PLACE, Results, iter_results, made_with, read_csv
from sapd_plugin.files import write_atomically
from studies.sam_priors.measurements import AGREEMENT

RESULTS = Path(__file__).parent / 'results'
TEST = ['protocol', 'quantise', 'sigma', 'images']
PARTS = {
    'training': ['iterations', 'as_published', 'batch', 'masks', 'seconds', 'finished', 'checkpoint', 'sha256'],
    'cost': ['parameters', 'macs', 'milliseconds', 'over_stock', 'memory', 'shape', 'device', 'threads'],
    'made_with': ['commit', 'torch', 'basicsr', 'mmagic', 'mmengine', 'mmcv'],
}
COLUMNS = [*PLACE, 'test', 'metric', 'value', *TEST, *(name for names in PARTS.values() for name in names), 'more']
COLUMNS[COLUMNS.index('seconds')] = 'training_seconds'
# Columns of ours and of a tool's CSV: those of the cell have the other names.
RENAMED = {'photos': 'arm', 'trained with': 'arm', 'trial': 'seed'}
TEACHER = ['psnr_stock', 'psnr_y', 'psnr_z', 'psnr_z_shuffled', 'psnr_z_empty', 'rmse_y_z', 'rmse_y_target']


def cell_rows(found: Results) -> Iterator[dict[str, Any]]:
    """Yield the rows of a cell's results; none if training has not finished."""
    if not found.training.get('finished', True):
        return
    parts = {part: dict(getattr(found, part)) for part in PARTS}
    known = {name: parts[part].pop(name, None) for part, names in PARTS.items() for name in names}
    known['training_seconds'] = known.pop('seconds')
    if known['shape'] is not None:
        known['shape'] = 'x'.join(map(str, known['shape']))
    rest = {
        f'{part}.{name}': value for part, left in parts.items() for name, value in left.items() if value is not None
    }
    more = json.dumps(rest, sort_keys=True) if rest else ''
    for test, about in found.tests.items():
        shared = {**asdict(found.cell), 'test': test, **{name: about.get(name) for name in TEST}, **known, 'more': more}
        for metric in sorted(about.keys() - set(TEST)):
            if isinstance(about[metric], (int, float)):
                yield {**shared, 'metric': metric, 'value': about[metric]}


def image_rows(path: Path, cell: Cell, keys: Sequence[str], values: Sequence[str]) -> pd.DataFrame:
    """Return one cell's rows of a tool's CSV: the cell's columns, test set, ``keys``, ``values`` and commit.

    Some columns of ``values`` may be missing, but not all.

    Raises:
        SAPDError: the file was not written by that tool.
    """
    frame = read_csv(path, [RENAMED.get(key, key) for key in keys], [])
    if not frame.columns.intersection(list(values)).size:
        raise SAPDError(f'{path}: found the columns {", ".join(frame)}, expected {", ".join(values)} among them.')
    frame = frame.rename(columns={RENAMED.get(key, key): key for key in keys}).reindex(
        columns=[*keys, *values], fill_value=''
    )
    shared = {**{name: str(value) for name, value in asdict(cell).items()}, 'test': path.parent.name}
    return pd.DataFrame(shared, frame.index).join(frame).assign(commit=made_with().get('commit', 'unknown'))


def merge(path: Path, new: pd.DataFrame, by: Sequence[str], keys: Sequence[str]) -> int:
    """Replace whole measurements in a CSV with new ones, and return how many were not there before.

    ``by`` names the columns that identify a measurement, ``keys`` those that identify a row; the file is sorted by
    ``keys``. ``new`` holds text. A measurement whose values have not changed keeps its commit.

    Raises:
        SAPDError: the file has different columns or a duplicate row.
    """
    old = read_csv(path, keys, []) if path.is_file() else new.iloc[:0]
    if list(old) != list(new):
        raise SAPDError(f'{path}: found the columns {", ".join(old)}, expected {", ".join(new)}.')
    before, now = ({place: rows.sort_values(list(keys)) for place, rows in f.groupby(list(by))} for f in (old, new))
    for place in before.keys() & now.keys():
        if before[place].drop(columns='commit').values.tolist() == now[place].drop(columns='commit').values.tolist():
            now[place] = before[place]
    rows = pd.concat([old.iloc[:0], *{**before, **now}.values()])  # nothing at all is a frame, too
    rows = rows.sort_values(list(keys), key=lambda column: column.astype(int) if column.name == 'seed' else column)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, rows.to_csv(index=False, lineterminator='\n'))
    return len(now.keys() - before.keys())


def collect(root: Path, tables: str, results: Path) -> None:
    """Merge the measurements below ``root`` of the tables whose names match a pattern.

    Raises:
        SAPDError: there are no measurements, or a file is invalid.
    """
    found = [one for one in iter_results(root) if fnmatchcase(one.cell.table, tables)]
    if not found:
        raise SAPDError(f"--output: found no results of tables '{tables}' in {root}.")
    rows = pd.DataFrame([row for one in found for row in cell_rows(one)], columns=COLUMNS, dtype=object)
    rows = rows.map(lambda value: '' if value is None else str(value))
    new = merge(results / 'cells.csv', rows, PLACE, [*PLACE, 'test', 'metric'])
    taken = len(rows.drop_duplicates(PLACE))
    print(f'{results / "cells.csv"}: {taken} cells, {new} of them new; {len(found) - taken} are not finished')
    for name, pattern, keys, values in (
        ('teacher', 'teacher/teacher.csv', ['kind', 'image'], TEACHER),
        ('trial', 'trial/trial.csv', ['trained with', 'trial', 'masks', 'photo'], ['gain', 'whole']),
        ('segmentation', 'segmentation/*/images.csv', ['photos', 'image'], AGREEMENT),
    ):
        frames = [
            image_rows(path, one.cell, keys, values)
            for one in found
            for path in sorted(one.cell.folder(root).glob(pattern))
        ]
        if frames:
            about = [*PLACE, 'test'] if '*' in pattern else PLACE
            columns = [*about, *keys, *values, 'commit']
            new = merge(results / f'{name}.csv', pd.concat(frames)[columns], about, [*about, *keys])
            print(f'{results / f"{name}.csv"}: {len(frames)} measurements, {new} of them new')


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--output', type=Path, default=Path('runs/tables'), help='measurements (default: %(default)s)')
    parser.add_argument('--tables', default='mini*', metavar='PATTERN', help='names of tables (default: %(default)s)')
    parser.add_argument('--results', type=Path, default=RESULTS, help='folder of the CSVs')
    options = parser.parse_args(arguments)
    return exit_status(lambda: collect(options.output.resolve(), options.tables, options.results))


if __name__ == '__main__':
    sys.exit(main())
