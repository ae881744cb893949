"""The block on segmentation: how well masks of restored photos agree with those of clean ones, and with people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from sapd_plugin.experiments.collected import CELL, read_rows
from sapd_plugin.experiments.collected_images import SEGMENTATION
from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.statistics import estimate, paired
from studies.sam_priors.study_report.markdown import table_of
from studies.sam_priors.study_report.measured import STOCK, UNMEASURED, estimated
from studies.sam_priors.study_report.sheets import by_seed, made_with

PLACE = (*CELL[:-1], 'test')
FIRST, LAST = 'degraded', 'clean'
_DIGITS = {'masks': 1}
_NOTE = (
    'Means over images, then over seeds; differences are paired by seed, ± half of the 95 % confidence interval over '
    'seeds, of a single seed over its images. What the measures are: tools/evaluate_segmentation.py.'
)

Rows = Sequence[Mapping[str, str]]


def segmentation(found: Sequence[Results], folder: Path) -> str:
    """Means of ``segmentation.csv`` by cell, test set and what was cut, and their differences to stock's photos.

    Args:
        found: not used.
        folder: of the study.

    Raises:
        SAPDError: a column is missing, or a value is no finite number.
    """
    path = folder / 'segmentation.csv'
    rows = read_rows(path, SEGMENTATION.columns) if path.is_file() else []
    if not rows:
        return UNMEASURED
    measures = [key for key in SEGMENTATION.values if any(row[key] for row in rows)]
    lines = []
    for place in dict.fromkeys(tuple(row[key] for key in PLACE) for row in rows):
        mine = [row for row in rows if tuple(row[key] for key in PLACE) == place]
        names = sorted({row['photos'] for row in mine}, key=_order)
        images = str(len({row['image'] for row in mine}))
        for name in names:
            means = [_mean([row for row in mine if row['photos'] == name], key, path) for key in measures]
            lines.append([*place, name, images, '', *means])
        for name in names:
            if name not in (FIRST, STOCK, LAST):
                lines.append([*place, f'{name} less {STOCK}', images, *_differences(mine, name, measures, path)])
    head = [*PLACE, 'masks of', 'images', 'seeds', *measures]
    return f'{table_of(head, lines)}\n\n{_NOTE} {made_with(rows, path)}'


def _order(name: str) -> tuple[bool, bool, bool, str]:
    return name == LAST, name != FIRST, name != STOCK, name


def _mean(rows: Rows, key: str, path: Path) -> str:
    means = [fmean(values.values()) for values in by_seed(rows, key, path).values()]
    return f'{fmean(means):.{_DIGITS.get(key, 3)}f}' if means else ''


def _differences(rows: Rows, name: str, measures: Sequence[str], path: Path) -> list[str]:
    """Seeds, and a text for each measure."""
    texts, seeds = [], 0
    for key in measures:
        own, base = (by_seed([row for row in rows if row['photos'] == one], key, path) for one in (name, STOCK))
        gaps = [gap for seed in own.keys() & base.keys() if (gap := paired(own[seed], base[seed])) is not None]
        gap = gaps[0] if len(gaps) == 1 else estimate([gap.mean for gap in gaps])
        seeds, digits = max(seeds, len(gaps)), _DIGITS.get(key, 3)
        texts.append(estimated(gap, digits, signed=True))
    return [str(seeds), *texts]
