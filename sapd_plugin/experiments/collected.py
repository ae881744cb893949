"""Results of many cells in one CSV, at full precision: one line a cell, test set and metric.

Such a file is kept in the repository where the folders of runs are not. `merge` brings it up to date, `read` gives
`Results` back, so that all that works from ``results.json`` files works from it.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError, check_keys
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.results import Results

CELL = ('framework', 'table', 'model', 'size', 'arm', 'seed')
KEY = (*CELL, 'test', 'metric')
_PARTS: Mapping[str, Mapping[str, type]] = {
    'training': {
        'iterations': int,
        'as_published': bool,
        'batch': int,
        'masks': str,
        'seconds': float,
        'finished': bool,
        'checkpoint': str,
        'sha256': str,
    },
    'cost': {
        'parameters': int,
        'macs': int,
        'milliseconds': float,
        'over_stock': float,
        'memory': int,
        'shape': list,
        'device': str,
        'threads': int,
    },
    'made_with': {'commit': str, 'torch': str, 'basicsr': str, 'mmagic': str, 'mmengine': str, 'mmcv': str},
}
_NAMES = {'seconds': 'training_seconds'}
_TEST: Mapping[str, type] = {'protocol': str, 'quantise': str, 'sigma': float, 'images': int}
COLUMNS = (*KEY, 'value', *_TEST, *(_NAMES.get(key, key) for keys in _PARTS.values() for key in keys), 'more')
"""``more``: keys of training, cost and made_with that have no column, as JSON."""


def write(path: Path, found: Iterable[Results]) -> None:
    """Write results, sorted by cell, test set and metric; whole or not at all. Cells without a test leave no line."""
    lines = sorted((line for results in found for line in _lines(results)), key=lambda line: [line[k] for k in KEY])
    write_rows(path, COLUMNS, lines)


def read(path: Path) -> list[Results]:
    """Read the results of a CSV, in its order. What is empty is left out, but for the protocol's keys, which are None.

    Raises:
        SAPDError: no such file, columns that are missing or unknown, a line twice, or a value of another type.
    """
    cells: dict[Cell, Results] = {}
    for number, line in enumerate(_rows(path), start=2):
        where = f'{path} line {number}'
        try:
            framework, table, model, size, arm = (line[key] for key in CELL[:-1])
            cell = Cell(framework, table, model, size, arm, int(line['seed']))
            value, parts = float(line['value']), {part: _part(part, line) for part in _PARTS}
            about = {key: _value(line[key], kind) for key, kind in _TEST.items()}
        except (ValueError, TypeError) as error:
            raise SAPDError(f'{where}: {error}.') from error
        results = cells.setdefault(cell, Results(cell, **parts))
        test = results.tests.setdefault(line['test'], about)
        if line['metric'] in test:
            raise SAPDError(f'{where}: {cell}, {line["test"]}, {line["metric"]} was there before; expected it once.')
        if any(getattr(results, part) != parts[part] for part in parts) or any(test[k] != about[k] for k in about):
            raise SAPDError(f'{where}: differs from another line of {cell} in what both should share.')
        test[line['metric']] = value
    return list(cells.values())


def merge(path: Path, found: Iterable[Results]) -> tuple[int, int]:
    """Bring a CSV up to date: a cell of ``found`` replaces all its old lines, other cells stay.

    Results without a test, or whose training is not finished, are not taken.

    Returns:
        How many cells were taken, and how many of them were not in the file before.
    """
    old = {results.cell: results for results in read(path)} if path.is_file() else {}
    new = {results.cell: results for results in found if _complete(results)}
    write(path, {**old, **new}.values())
    return len(new), len(new.keys() - old.keys())


def finished(path: Path) -> dict[Cell, Results]:
    """The cells of a CSV that need not be run again. Whether a test set is among theirs: `Results.holds`.

    Raises:
        SAPDError: as `read` does.
    """
    return {results.cell: results for results in read(path) if _complete(results)}


def _complete(results: Results) -> bool:
    return bool(results.tests) and bool(results.training.get('finished', True))


def _lines(results: Results) -> Iterable[dict[str, Any]]:
    cell = {key: getattr(results.cell, key) for key in CELL}
    shared, more = {}, {}
    for part, columns in _PARTS.items():
        for key, value in getattr(results, part).items():
            if key in columns:
                shared[_NAMES.get(key, key)] = 'x'.join(map(str, value)) if columns[key] is list else value
            elif value is not None:
                more[f'{part}.{key}'] = value
    shared['more'] = json.dumps(more, sort_keys=True) if more else ''
    for test, found in results.tests.items():
        about = {key: found.get(key) for key in _TEST}
        for metric, value in found.items():
            if metric not in _TEST and isinstance(value, (int, float)):
                yield {**cell, 'test': test, 'metric': metric, 'value': value, **about, **shared}


def _part(part: str, line: Mapping[str, str]) -> dict[str, Any]:
    found = {key: _value(line[_NAMES.get(key, key)], kind) for key, kind in _PARTS[part].items()}
    more = json.loads(line['more'] or '{}')
    found.update({name.partition('.')[2]: value for name, value in more.items() if name.startswith(f'{part}.')})
    return {key: value for key, value in found.items() if value is not None}


def _value(text: str, kind: type) -> Any:
    if text == '':
        return None
    if kind is bool:
        if text not in ('True', 'False'):
            raise ValueError(f"found '{text}', expected True or False")
        return text == 'True'
    if kind is list:
        return [int(length) for length in text.split('x')]
    return kind(text)


def _rows(path: Path) -> list[dict[str, str]]:
    return read_rows(path, COLUMNS, exactly=True)


def write_rows(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a CSV, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f'{path.name}.tmp')
    with draft.open('w', encoding='utf-8', newline='') as file:
        writer = csv.DictWriter(file, columns, lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    os.replace(draft, path)


def read_rows(path: Path, columns: Sequence[str], exactly: bool = False) -> list[dict[str, str]]:
    """Read a CSV as text, checked.

    Args:
        path: of the file.
        columns: that must be there.
        exactly: whether others are refused.

    Raises:
        SAPDError: no such file, a column too few or too many, or a line of another length than the first.
    """
    if not path.is_file():
        raise SAPDError(f'found no file {path}.')
    with path.open(encoding='utf-8', newline='') as file:
        reader = csv.DictReader(file)
        head = reader.fieldnames or []
        missing = [column for column in columns if column not in head]
        if missing:
            raise SAPDError(f'{path}: has no column {", ".join(missing)}, expected {", ".join(columns)}.')
        if exactly:
            check_keys(str(path), head, columns)
        rows = list(reader)
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise SAPDError(f'{path} line {number}: has another number of values than the {len(head)} columns.')
    return rows
