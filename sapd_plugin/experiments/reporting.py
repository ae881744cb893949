"""The files of a report."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from sapd_plugin.experiments import report
from sapd_plugin.experiments.catalogue import Catalogue, Cell
from sapd_plugin.experiments.definitions import FRAMEWORKS, Table
from sapd_plugin.experiments.framework import Framework
from sapd_plugin.experiments.frameworks import load_framework
from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.summary import Row, rows


def write_reports(catalogue: Catalogue, tables: Iterable[Table], found: Sequence[Results], root: Path) -> None:
    """Write the reports of tables, Markdown, LaTeX, CSV and pictures, below ``root/reports``, and print their paths.

    Args:
        catalogue: that they are of.
        tables: those to report.
        found: what was measured.
        root: folder of results.
    """
    pictures = importlib.util.find_spec('matplotlib') is not None
    if not pictures:
        print('no pictures: matplotlib is not installed', file=sys.stderr)
    for table in tables:
        for framework in FRAMEWORKS:
            if not any(framework in entry.configs for entry in table.entries.values()):
                continue
            lines = list(rows(catalogue, table, framework, found))
            base = root / 'reports' / f'{table.name}_{framework}'
            _write_texts(base, table, lines)
            if pictures and any(row.cost for row in lines):
                _draw_cost(base.with_name(f'{base.name}_cost.png'), table, lines)
            mine = [r.cell for r in found if (r.cell.table, r.cell.framework) == (table.name, framework)]
            mine.sort(key=lambda cell: (list(catalogue.arms).index(cell.arm), cell.seed))
            if mine and pictures:
                _draw(root, catalogue, load_framework(framework), mine)


def _write_texts(base: Path, table: Table, lines: Sequence[Row]) -> None:
    base.parent.mkdir(parents=True, exist_ok=True)
    for suffix, make in (('.md', report.markdown), ('.tex', report.latex), ('.csv', report.csv_text)):
        path = base.with_suffix(suffix)
        path.write_text(make(table, lines), encoding='utf-8')
        print(path)


def _draw_cost(path: Path, table: Table, lines: Sequence[Row]) -> None:
    from sapd_plugin.experiments.plots import draw_cost

    draw_cost(path, table, lines)
    print(path)


def _draw(root: Path, catalogue: Catalogue, framework: Framework, cells: Sequence[Cell]) -> None:
    from sapd_plugin.experiments.plots import draw_curves

    for model, size in dict.fromkeys((cell.model, cell.size) for cell in cells):
        curves = {}
        for cell in cells:
            folder = cell.folder(root)
            config = folder / f'train{framework.suffix}'
            if (cell.model, cell.size) == (model, size) and config.is_file():
                points = framework.curve(config, folder)
                if points:
                    curves[cell] = points
        if curves:
            path = root / 'reports' / f'{cells[0].table}_{framework.name}_{model}_{size}_curves.png'
            draw_curves(path, catalogue, f'{model} {size}, {framework.name}', curves)
            print(path)
