"""The results of a cell: ``results.json`` in its folder. All measured numbers of a report come from these files."""

from __future__ import annotations

import contextlib
import csv
import json
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.definitions import Table
from sapd_plugin.files import write_atomically

FILE = 'results.json'
PLACE = [field.name for field in fields(Cell)]
PROTOCOL = ('protocol', 'quantise', 'sigma')  # numbers can be compared only if these are equal
_PACKAGES = ('torch', 'basicsr', 'mmagic', 'mmengine', 'mmcv')


@dataclass
class Results:
    """Measurements of one cell.

    Attributes:
        cell: the cell that was run.
        training: iterations, whether that is the published number, and wall time in seconds; empty if not trained.
        tests: for each test set, psnr and ssim, and their protocol, quantisation, sigma and number of images.
        cost: parameters, MACs, time and memory of the student.
        made_with: commit of the project and versions of the packages.
    """

    cell: Cell
    training: dict[str, Any] = field(default_factory=dict)
    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)

    def holds(self, test: str, table: Table) -> bool:
        """Return whether a test set was measured with the table's protocol."""
        found = self.tests.get(test, {})
        return all(found.get(key, ...) == getattr(table, key) for key in PROTOCOL)

    def save(self, folder: Path, measured: bool = True) -> None:
        """Write the file atomically.

        Args:
            folder: the cell's folder.
            measured: whether the current code made the measurements; if not, ``made_with`` stays as it is.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if measured:
            self.made_with = made_with()
        write_atomically(folder / FILE, json.dumps(asdict(self), indent=1) + '\n')


def load(cell: Cell, root: Path) -> Results:
    """Read a cell's results; they are empty if nothing was measured yet.

    Raises:
        SAPDError: the file is not a results file.
    """
    path = cell.folder(root) / FILE
    if not path.is_file():
        return Results(cell)
    try:
        found = json.loads(path.read_text(encoding='utf-8'))
        return Results(Cell(**found.pop('cell')), **found)
    except (ValueError, TypeError, KeyError) as error:
        raise SAPDError(f'{path}: not a results file ({error}). Delete it, and run the cell again.') from error


def iter_results(root: Path) -> Iterator[Results]:
    """Yield the results of every cell below a folder."""
    for path in sorted(root.glob(f'*/*/*/*/*/*/{FILE}')):
        framework, table, model, size, arm, seed = path.parent.relative_to(root).parts
        yield load(Cell(framework, table, model, size, arm, int(seed)), root)


def read_finished(path: Path) -> dict[Cell, Results]:
    """Read the finished cells of a CSV of collected results, which has one row per cell, test set and metric.

    Raises:
        SAPDError: as `read_csv`.
    """
    results: dict[Cell, Results] = {}
    texts = ('protocol', 'quantise', 'finished')
    try:
        frame = read_csv(path, [*PLACE, 'test', 'metric'], ['value'], ['sigma'], texts, ['seed', 'images'])
    except SAPDError as error:
        raise SAPDError(f'--done: {error}') from error
    for row in frame.itertuples():
        if row.finished != 'False':  # empty for a published checkpoint, which was not trained
            cell = Cell(row.framework, row.table, row.model, row.size, row.arm, int(row.seed))
            sigma = None if pd.isna(row.sigma) else row.sigma
            about = {'protocol': row.protocol, 'quantise': row.quantise, 'sigma': sigma, 'images': int(row.images)}
            results.setdefault(cell, Results(cell)).tests.setdefault(row.test, about)[row.metric] = row.value
    return results


def made_with() -> dict[str, str]:
    """Return the project's commit (followed by '+' if files differ from it) and the packages' versions."""
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    command = ['git', 'describe', '--always', '--exclude=*', '--abbrev=40', '--dirty=+']
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        root = Path(__file__).resolve().parents[2]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
        found['commit'] = done.stdout.strip()
    return found


def read_csv(
    path: Path,
    keys: Sequence[str],
    numbers: Sequence[str],
    optional: Sequence[str] = (),
    texts: Sequence[str] = (),
    integers: Sequence[str] = (),
) -> pd.DataFrame:
    """Read a CSV.

    Args:
        path: the CSV file.
        keys: columns that identify a row; no two rows have the same values.
        numbers: columns of finite numbers.
        optional: columns of finite numbers that may be empty or ``nan``.
        texts: further required columns.
        integers: columns of integers.

    Raises:
        SAPDError: the file does not exist or is not as described; the message names file, line and column.
    """
    if not path.is_file():
        raise SAPDError(f'found no file {path}.')
    with path.open(encoding='utf-8', newline='') as file:
        lengths = {line: len(row) for line, row in enumerate(csv.reader(file), start=1) if row}
    if not lengths:
        raise SAPDError(f'{path}: found no lines, expected one with column names.')
    (_, expected), *_ = lengths.items()
    for line, length in lengths.items():
        if length != expected:
            raise SAPDError(f'{path} line {line}: found {length} values, expected {expected}.')
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    if missing := [name for name in (*keys, *numbers, *optional, *texts, *integers) if name not in frame]:
        raise SAPDError(f'{path}: found no column {", ".join(missing)}; its columns are {", ".join(frame)}.')
    lines = list(lengths)[1:]
    if (twice := frame.duplicated(list(keys))).any():
        row = frame.loc[twice.idxmax(), list(keys)]
        raise SAPDError(f'{path} line {lines[twice.idxmax()]}: found {", ".join(row)} again, expected it once.')
    for name in integers:
        wrong = ~frame[name].str.fullmatch(r'[+-]?[0-9]{1,18}')
        if wrong.any():
            found = frame[name][wrong.idxmax()]
            raise SAPDError(f"{path} line {lines[wrong.idxmax()]}, {name}: found '{found}', expected an integer.")
        frame[name] = frame[name].astype(int)
    for name in (*numbers, *optional):
        column = pd.to_numeric(frame[name], errors='coerce')
        wrong = ~np.isfinite(column) & ~(frame[name].isin(['', 'nan']) & (name in optional))
        if wrong.any():
            found = frame[name][wrong.idxmax()]
            raise SAPDError(f"{path} line {lines[wrong.idxmax()]}, {name}: found '{found}', expected a finite number.")
        if column.dtype == float:
            column = frame[name].replace('', 'nan').astype(float)  # exact; to_numeric may be off in the last digit
        frame[name] = column
    return frame
