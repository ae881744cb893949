"""What was measured of a cell: ``results.json`` in its folder. No number of a report comes from elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.definitions import Table

FILE = 'results.json'
PROTOCOL = ('protocol', 'quantise', 'sigma')
"""What numbers have to share to be compared."""
_PACKAGES = ('torch', 'basicsr', 'mmagic', 'mmengine', 'mmcv')


@dataclass
class Results:
    """Measurements of one cell.

    Attributes:
        cell: which.
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
        """Write the file whole or not at all.

        Args:
            folder: of the cell.
            measured: just now, by the code as it is; otherwise ``made_with`` stays.
        """
        folder.mkdir(parents=True, exist_ok=True)
        if measured:
            self.made_with = made_with()
        draft = folder / f'{FILE}.tmp'
        draft.write_text(json.dumps(asdict(self), indent=1) + '\n', encoding='utf-8')
        os.replace(draft, folder / FILE)


def load(cell: Cell, root: Path) -> Results:
    """Read a cell's results; empty ones where there are none yet.

    Raises:
        SAPDError: the file is no results file.
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


def made_with() -> dict[str, str]:
    """The project's commit (with '+' where files differ from it) and the packages' versions."""
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
