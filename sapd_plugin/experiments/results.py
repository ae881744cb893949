"""What was measured of a cell: ``results.json`` in its folder. No number of a report comes from elsewhere."""

from __future__ import annotations

import csv
import json
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.definitions import Table
from sapd_plugin.files import write_atomically

FILE = 'results.json'
PROTOCOL = ('protocol', 'quantise', 'sigma')  # what numbers have to share to be compared
_COLUMNS = (
    *('framework', 'table', 'model', 'size', 'arm', 'seed', 'test', 'metric', 'value'),
    *(*PROTOCOL, 'images', 'finished'),
)
_PACKAGES = ('torch', 'basicsr', 'mmagic', 'mmengine', 'mmcv')


@dataclass
class Results:
    """Measurements of one cell.

    Attributes:
        cell: what was run.
        training: iterations, whether they are the published number, and seconds of wall time; empty: not trained.
        tests: by test set: psnr, ssim, and the protocol, quantisation, sigma and number of images they hold for.
        cost: parameters, MACs, time and memory of the student.
        made_with: commit of the project and versions of the packages.
    """

    cell: Cell
    training: dict[str, Any] = field(default_factory=dict)
    tests: dict[str, dict[str, Any]] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)

    def holds(self, test: str, table: Table) -> bool:
        """Whether a test set was measured by the table's protocol."""
        found = self.tests.get(test, {})
        return all(found.get(key, ...) == getattr(table, key) for key in PROTOCOL)

    def save(self, folder: Path, measured: bool = True) -> None:
        """Write the file atomically.

        Args:
            folder: of the cell.
            measured: whether it was measured just now, by the code as it is; otherwise ``made_with`` stays.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if measured:
            self.made_with = made_with()
        write_atomically(folder / FILE, json.dumps(asdict(self), indent=1) + '\n')


def load(cell: Cell, root: Path) -> Results:
    """Read a cell's results; empty ones where nothing was measured yet.

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
    """Read the finished cells of a CSV of collected results, which has a row per cell, test set and metric.

    Raises:
        SAPDError: no such file, a column that is missing, or a value of another type.
    """
    if not path.is_file():
        raise SAPDError(f'--done: found no file {path}.')
    results: dict[Cell, Results] = {}
    with path.open(encoding='utf-8', newline='') as file:
        rows = csv.DictReader(file)
        missing = [column for column in _COLUMNS if column not in (rows.fieldnames or [])]
        if missing:
            raise SAPDError(f'--done: {path} has no column {", ".join(missing)}, expected {", ".join(_COLUMNS)}.')
        for row in rows:
            try:
                framework, table, model, size, arm = (row[key] for key in _COLUMNS[:5])
                cell = Cell(framework, table, model, size, arm, int(row['seed']))
                about = {'protocol': row['protocol'], 'quantise': row['quantise'], 'images': int(row['images'])}
                about |= {'sigma': float(row['sigma']) if row['sigma'] else None}
                value = float(row['value'])
            except (ValueError, TypeError) as error:
                raise SAPDError(f'--done: {path} line {rows.line_num}: {error}.') from error
            if row['finished'] != 'False':  # a published checkpoint was not trained, and has no entry there
                test = results.setdefault(cell, Results(cell)).tests.setdefault(row['test'], about)
                test[row['metric']] = value
    return results


def made_with() -> dict[str, str]:
    """Return the project's commit (with '+' where files differ from it) and the packages' versions."""
    found = {}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    root = Path(__file__).resolve().parents[2]
    try:
        commit = subprocess.run(['git', 'rev-parse', 'HEAD'], cwd=root, capture_output=True, text=True, check=True)
        status = subprocess.run(
            ['git', 'status', '--porcelain', '--untracked-files=no'],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        found['commit'] = commit.stdout.strip() + ('+' if status.stdout.strip() else '')
    except (OSError, subprocess.CalledProcessError):
        pass
    return found
