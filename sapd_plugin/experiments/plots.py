"""Pictures of a table: validation curves, and quality against inference cost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import pandas as pd

mpl.use('Agg')  # no display where tables are made

from matplotlib import pyplot as plt

from sapd_plugin.experiments.catalogue import Catalogue, Cell
from sapd_plugin.experiments.definitions import Table
from sapd_plugin.experiments.run import Run


def draw_curves(
    base: Path, catalogue: Catalogue, framework: type[Run], cells: Sequence[Cell], root: Path
) -> Iterator[Path]:
    """Draw validation PSNR over iterations, one colour per arm, one line per seed, one picture per model and size.

    Args:
        base: path of the pictures, without the end of their names.
        catalogue: for the arms' labels.
        framework: whose logs are read.
        cells: of one table and framework.
        root: of results.

    Yields:
        The path of each picture.
    """
    for model, size in dict.fromkeys((cell.model, cell.size) for cell in cells):
        mine = [cell for cell in cells if (cell.model, cell.size) == (model, size)]
        logged = {cell: framework.read_log(cell.folder(root), cell.name).curve for cell in mine}
        curves = {cell: sorted(curve.items()) for cell, curve in logged.items() if curve}
        if not curves:
            continue
        figure, axes = plt.subplots(figsize=(7, 4.5), layout='constrained')
        arms = list(dict.fromkeys(cell.arm for cell in curves))
        labels = {arm: catalogue.arms[arm].label for arm in arms}
        for cell, points in curves.items():
            colour, label = f'C{arms.index(cell.arm)}', labels.pop(cell.arm, None)  # once in the legend
            axes.plot(*zip(*points), color=colour, marker='.', linewidth=1, label=label)
        title = f'{model} {size}, {framework.framework}'
        axes.set(xlabel='iteration', ylabel='validation PSNR (dB)', title=title)
        axes.grid(alpha=0.3)
        axes.legend()
        yield _save(figure, base.with_name(f'{base.name}_{model}_{size}_curves.png'))


def draw_cost(path: Path, table: Table, frame: pd.DataFrame) -> Path | None:
    """Draw PSNR against multiply-accumulates, one picture per test set, one colour per arm, whiskers for the interval.

    Args:
        path: of the PNG.
        table: whose test sets are drawn.
        frame: the table's summary; rows with a cost and a PSNR count.

    Returns:
        The path; None where no cost was measured.
    """
    frame = frame[(frame['metric'] == 'psnr') & frame['macs'].notna()]
    if frame.empty:
        return None
    labels, tests = list(frame['label'].unique()), list(table.tests)
    figure, grid = plt.subplots(1, len(tests), figsize=(5 * len(tests), 4.5), layout='constrained', squeeze=False)
    for axes, test in zip(grid[0], tests):
        for row in frame[frame['test'] == test].itertuples():
            half = None if pd.isna(row.half_width_95) else row.half_width_95
            colour, macs = f'C{labels.index(row.label)}', row.macs / 1e9
            axes.errorbar(macs, row.mean, yerr=half, fmt='o', color=colour, capsize=3, label=row.label)
            if row.arm in ('stock', 'published'):
                name = row.model if row.size == 'full' else f'{row.model} {row.size}'
                axes.annotate(name, (macs, row.mean), textcoords='offset points', xytext=(6, -10), fontsize=8)
        axes.set(xscale='log', xlabel='GMACs of one image', ylabel='PSNR (dB)', title=test)
        axes.grid(alpha=0.3)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels())))
        if handles:
            axes.legend(handles.values(), handles.keys(), fontsize=8)
    return _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
    return path
