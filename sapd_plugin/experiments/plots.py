"""Pictures of a table: validation curves, and quality against inference cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl

mpl.use('Agg')  # no display where tables are made

from matplotlib import pyplot as plt

from sapd_plugin.experiments.catalogue import Catalogue, Cell
from sapd_plugin.experiments.definitions import Table
from sapd_plugin.experiments.summary import Row


def draw_curves(
    path: Path, catalogue: Catalogue, title: str, curves: Mapping[Cell, Sequence[tuple[int, float]]]
) -> None:
    """Draw validation PSNR over iterations, a colour an arm, a line a seed.

    Args:
        path: of the PNG.
        catalogue: for the arms' labels.
        title: above the picture.
        curves: (iteration, PSNR) of each cell; cells of one model and size.
    """
    figure, axes = plt.subplots(figsize=(7, 4.5), layout='constrained')
    arms = list(dict.fromkeys(cell.arm for cell in curves))
    for cell, points in curves.items():
        first = next(other for other in curves if other.arm == cell.arm) == cell
        label = catalogue.arms[cell.arm].label if first else None
        axes.plot(*zip(*points), color=f'C{arms.index(cell.arm)}', marker='.', linewidth=1, label=label)
    axes.set(xlabel='iteration', ylabel='validation PSNR (dB)', title=title)
    axes.grid(alpha=0.3)
    axes.legend()
    _save(figure, path)


def draw_cost(path: Path, table: Table, rows: Sequence[Row]) -> None:
    """Draw PSNR against multiply-accumulates, a picture a test set, a colour an arm, whiskers for the interval.

    Args:
        path: of the PNG.
        table: whose test sets are drawn.
        rows: of the report; those with a cost and a PSNR count.
    """
    measured = [row for row in rows if row.cost.get('macs') and row.arm != 'quoted']
    labels = list(dict.fromkeys(row.label for row in measured))
    figure, grid = plt.subplots(
        1, len(table.tests), figsize=(5 * len(table.tests), 4.5), layout='constrained', squeeze=False
    )
    for axes, test in zip(grid[0], table.tests):
        for row in measured:
            value = row.values.get((test, 'psnr'))
            if value is None:
                continue
            colour = f'C{labels.index(row.label)}'
            macs = row.cost['macs'] / 1e9
            axes.errorbar(macs, value.mean, yerr=value.half, fmt='o', color=colour, capsize=3, label=row.label)
            if row.arm in ('stock', 'published'):
                name = row.model if row.size == 'full' else f'{row.model} {row.size}'
                axes.annotate(name, (macs, value.mean), textcoords='offset points', xytext=(6, -10), fontsize=8)
        axes.set(xscale='log', xlabel='GMACs of one image', ylabel='PSNR (dB)', title=test)
        axes.grid(alpha=0.3)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels())))
        if handles:
            axes.legend(handles.values(), handles.keys(), fontsize=8)
    _save(figure, path)


def _save(figure: plt.Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
    plt.close(figure)
