"""The results of a cell: ``results.json`` in its folder. All measured numbers of a report come from these files."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

import numpy as np
import pandas as pd
from msgspec import Meta

from sapd_plugin.errors import SAPDError, check_keys
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.definitions import Table
from sapd_plugin.files import write_atomically
from sapd_plugin.structs import convert
from sapd_plugin.texts import read_json, read_text

FILE = 'results.json'
PLACE = [field.name for field in fields(Cell)]
PROTOCOL = ('protocol', 'quantise', 'sigma')  # numbers can be compared only if these are equal
_PACKAGES = ('torch', 'basicsr', 'mmagic', 'mmengine', 'mmcv')

_Count = Annotated[int, Meta(ge=0)]
_Amount = Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)]


class _Test(TypedDict):
    """What a reader needs of a test. Other keys are allowed in each of these blocks: other versions may write them."""

    psnr: int | float
    ssim: Annotated[int, Meta(ge=-1, le=1)] | Annotated[float, Meta(ge=-1.001, le=1.001)]  # of rounded numbers
    protocol: str
    quantise: str
    sigma: _Amount | None
    images: Annotated[int, Meta(ge=1)]


class _Training(TypedDict):
    iterations: NotRequired[_Count | None]
    as_published: NotRequired[bool]
    batch: NotRequired[_Count]
    seconds: NotRequired[_Amount]
    masks: NotRequired[str | None]
    finished: NotRequired[bool]
    logged: NotRequired[dict[str, int | float | None]]
    curve: NotRequired[dict[str, int | float | None]]


class _Cost(TypedDict):
    parameters: NotRequired[_Count]
    macs: NotRequired[_Amount]
    milliseconds: NotRequired[_Amount]
    memory: NotRequired[_Count | None]
    over_stock: NotRequired[_Amount | None]


_BLOCKS = {'training': _Training, 'tests': dict[str, _Test], 'cost': _Cost, 'made_with': dict[str, str]}


@dataclass
class Results:
    """Measurements of one cell.

    Attributes:
        cell: the cell that was run.
        training: iterations, whether that is the published number, wall time in seconds, and the PSNR of each
            validation by iteration; empty if not trained.
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
        write_atomically(folder / FILE, json.dumps(_finite(asdict(self)), indent=1, allow_nan=False) + '\n')


def load(cell: Cell, root: Path) -> Results:
    """Read a cell's results; they are empty if nothing was measured yet.

    Raises:
        SAPDError: the file is not one of the cell's results; the message names the file and the key.
    """
    path = cell.folder(root) / FILE
    if not path.is_file():
        return Results(cell)
    try:
        return Results(cell, **_read(path, asdict(cell)))
    except SAPDError as error:
        raise SAPDError(f'{error} Correct the file, or delete it and run the cell again.') from error


def _read(path: Path, cell: Mapping[str, Any]) -> dict[str, Any]:
    """Return the blocks of a results file, which may have been edited by hand or moved to another folder."""
    expected = f'the results of a cell, which have the keys cell and {", ".join(_BLOCKS)}'
    found = read_json(path, expected)
    if not isinstance(found, dict):
        raise SAPDError(f'{path}: found {_KINDS.get(type(found), "a number")}, expected {expected}.')
    check_keys(str(path), found, ('cell', *_BLOCKS))
    own = found.pop('cell', None)
    if not isinstance(own, dict):
        raise SAPDError(f'{path}: found cell: {json.dumps(own)}, expected {json.dumps(cell)}.')
    for key in (*cell, *own):
        if key not in own or own[key] != cell.get(key) or isinstance(own[key], bool):
            has = json.dumps(own[key]) if key in own else 'nothing'
            wants = json.dumps(cell[key]) if key in cell else 'no such key'
            raise SAPDError(f"{path}: cell.{key}: found {has}, expected {wants}, as the file's folder says.")
    for key, kind in _BLOCKS.items():
        if key in found:
            convert(found[key], kind, f'{path}: {key}')
    return found


_KINDS = {list: 'a list', str: 'a text', bool: 'true or false', type(None): 'null'}


def _finite(value: Any) -> Any:
    """Replace NaN and infinity, which JSON does not have, by null."""
    if isinstance(value, Mapping):
        return {key: _finite(part) for key, part in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def iter_results(root: Path) -> Iterator[Results]:
    """Yield the results of every cell below a folder.

    Raises:
        SAPDError: a file is not one of a cell's results, or its folder is not one of a cell.
    """
    for path in sorted(root.glob(f'*/*/*/*/*/*/{FILE}')):
        framework, table, model, size, arm, seed = path.parent.relative_to(root).parts
        if not (seed.isascii() and seed.isdecimal()):
            raise SAPDError(f"{path}: found '{seed}' as the seed, expected FRAMEWORK/TABLE/MODEL/SIZE/ARM/SEED/{FILE}.")
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
    text = read_text(path, 'a CSV')
    try:
        lengths = {
            line: len(row) for line, row in enumerate(csv.reader(text.splitlines(keepends=True)), start=1) if row
        }
    except csv.Error as error:
        raise SAPDError(f'{path}: {error}; expected a CSV.') from error
    if not lengths:
        raise SAPDError(f'{path}: found no lines, expected one with column names.')
    (_, expected), *_ = lengths.items()
    for line, length in lengths.items():
        if length != expected:
            raise SAPDError(f'{path} line {line}: found {length} values, expected {expected}.')
    frame = pd.read_csv(io.StringIO(text), dtype=str, keep_default_na=False)
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
