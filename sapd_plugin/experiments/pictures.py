"""Pictures of a table's validation curves and quality over inference cost, and of photos that two students restore."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sapd_plugin.evaluation.teacher import Masks, Teacher
from sapd_plugin.experiments.catalogue import Catalogue, Cell
from sapd_plugin.experiments.definitions import Table
from sapd_plugin.experiments.run import Run
from sapd_plugin.metrics.quality import psnr
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.inspection.overlays import arrange, write_png
from sapd_plugin.priors.inspection.pictures import overlay
from sapd_plugin.priors.segmenters import Segmenter

TILE = 224  # side of the part of a photo that is shown, in pixels
_STEP = 32  # step of the search for the tile, in pixels


def draw_curves(
    base: Path, catalogue: Catalogue, framework: type[Run], cells: Sequence[Cell], root: Path
) -> Iterator[Path]:
    """Draw validation PSNR over iterations, one colour per arm, one line per seed, one picture per model and size.

    The cells belong to one table and framework. Yields each picture's path: ``base`` with an addition to its name.
    """
    for model, size in dict.fromkeys((cell.model, cell.size) for cell in cells):
        mine = [cell for cell in cells if (cell.model, cell.size) == (model, size)]
        logged = {cell: framework.read_log(cell.folder(root), cell.name).curve for cell in mine}
        curves = {cell: sorted(curve.items()) for cell, curve in logged.items() if curve}
        if not curves:
            continue
        figure, (axes,) = _panels(1, 7)
        arms = list(dict.fromkeys(cell.arm for cell in curves))
        labels = {arm: catalogue.arms[arm].label for arm in arms}
        for cell, points in curves.items():
            colour, label = f'C{arms.index(cell.arm)}', labels.pop(cell.arm, None)  # once in the legend
            axes.plot(*zip(*points), color=colour, marker='.', linewidth=1, label=label)
        title = f'{model} {size}, {framework.framework}'
        axes.set(xlabel='iteration', ylabel='validation PSNR (dB)', title=title)
        axes.legend()
        path = base.with_name(f'{base.name}_{model}_{size}_curves.png')
        figure.savefig(path, dpi=120)
        yield path


def draw_cost(path: Path, table: Table, frame: pd.DataFrame) -> Path | None:
    """Draw PSNR over multiply-accumulates: one panel per test set, one colour per arm, error bars for the intervals.

    ``frame`` is the table's summary. Returns the path, or None if no cost was measured.
    """
    frame = frame[(frame['metric'] == 'psnr') & frame['macs'].notna()]
    if frame.empty:
        return None
    labels = list(frame['label'].unique())
    figure, panels = _panels(len(table.tests), 5)
    for axes, test in zip(panels, table.tests):
        for row in frame[frame['test'] == test].itertuples():
            half = None if pd.isna(row.half_width_95) else row.half_width_95
            colour, macs = f'C{labels.index(row.label)}', row.macs / 1e9
            axes.errorbar(macs, row.mean, yerr=half, fmt='o', color=colour, capsize=3, label=row.label)
            if row.arm in ('stock', 'published'):
                name = row.model if row.size == 'full' else f'{row.model} {row.size}'
                axes.annotate(name, (macs, row.mean), textcoords='offset points', xytext=(6, -10), fontsize=8)
        axes.set(xscale='log', xlabel='GMACs per image', ylabel='PSNR (dB)', title=test)
        handles = dict(zip(*reversed(axes.get_legend_handles_labels())))
        if handles:
            axes.legend(handles.values(), handles.keys(), fontsize=8)
    figure.savefig(path, dpi=120)
    return path


def _panels(count: int, width: float) -> tuple[Any, Sequence[Any]]:
    """Return a matplotlib figure and its panels, side by side, each ``width`` inches wide."""
    from matplotlib.figure import Figure  # here, because `draw_picture` does not need it

    figure = Figure(figsize=(width * count, 4.5), layout='constrained')
    (panels,) = figure.subplots(1, count, squeeze=False)
    for axes in panels:
        axes.grid(alpha=0.3)
    return figure, panels


def draw_picture(path: Path, stock: Run, sapd: Run, segmenter: Segmenter, photos: int = 3) -> None:
    """Write a PNG with one row per photo: degraded, restored by both students, refined, ground truth, masks.

    ``stock`` and ``sapd`` are finished BasicSR runs; ``segmenter`` segments the images that ``sapd`` restores. The
    first ``photos`` images of the first test set are shown, in the order of their names.
    """
    spf, pairs = sapd.student.with_name('net_spf_latest.pth'), sapd.test_sets[0].folder
    teacher = Teacher(sapd.config, sapd.student, spf, stock.student)
    tiles = []
    for file in sorted((pairs / 'target').glob('*.png'))[:photos]:
        degraded, target = read_image(pairs / 'input' / file.name), read_image(file)
        y = _to_bytes(teacher.restore(degraded, {})['y'])
        masks = Masks.of(segmenter(y), y)
        labels = masks.labels
        restored = {name: _to_bytes(image) for name, image in teacher.restore(degraded, {'z': masks}).items()}
        images = {'degraded': degraded, 'stock': restored['stock'], 'SAPD': restored['y'], 'refined z': restored['z']}
        window = _most_detailed(labels)
        for name, image in images.items():
            tiles.append((f'{name} {psnr(image.astype(float), target):.2f} dB', image[window]))
        tiles.append(('ground truth', target[window]))
        tiles.append((f'masks: {int(labels.max())} regions', overlay(target, labels)[window]))
    write_png(path, arrange(tiles, 6, TILE))


def _to_bytes(image: np.ndarray) -> np.ndarray:
    return (image * 255).round().astype(np.uint8)


def _most_detailed(labels: np.ndarray) -> tuple[slice, slice]:
    """Return the tile with the most regions, searched on a coarse grid."""
    tops, lefts = (range(0, max(1, side - TILE + 1), _STEP) for side in labels.shape)
    tiles = [(slice(top, top + TILE), slice(left, left + TILE)) for top in tops for left in lefts]
    return max(tiles, key=lambda tile: len(np.unique(labels[tile])))
