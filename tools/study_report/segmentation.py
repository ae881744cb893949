"""The block on segmentation: how well masks of restored photos agree with those of clean ones, and with people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from study_report.markdown import table_of
from study_report.measured import STOCK, UNMEASURED, estimated
from study_report.sheets import made_with, number_of
from tables.collected import read_rows
from tables.collected_images import SEGMENTATION
from tables.results import Results
from tables.statistics import paired

PLACE = ('table', 'model', 'arm', 'test')
FIRST, LAST = 'degraded', 'clean'
_DIGITS = {'masks': 1}
_NOTE = (
    'Means over images, then over seeds; differences are paired by seed, ± half of the 95 % confidence interval over '
    'seeds, of a single seed over its images. What the measures are: tools/evaluate_segmentation.py.'
)

Rows = Sequence[Mapping[str, str]]


def segmentation(found: Sequence[Results], folder: Path) -> str:
    """Means of ``segmentation.csv`` by test set and by what was cut, and their differences to stock's photos.

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


def _by_seed(rows: Rows, key: str, path: Path) -> dict[int, dict[str, float]]:
    values: dict[int, dict[str, float]] = {}
    for row in rows:
        value = number_of(row, key, path)
        if value is not None:
            values.setdefault(int(row['seed']), {})[row['image']] = value
    return values


def _mean(rows: Rows, key: str, path: Path) -> str:
    means = [fmean(values.values()) for values in _by_seed(rows, key, path).values()]
    return f'{fmean(means):.{_DIGITS.get(key, 3)}f}' if means else ''


def _differences(rows: Rows, name: str, measures: Sequence[str], path: Path) -> list[str]:
    """Seeds, and a text for each measure."""
    texts, seeds = [], 0
    for key in measures:
        own, base = (_by_seed([row for row in rows if row['photos'] == one], key, path) for one in (name, STOCK))
        both = sorted(own.keys() & base.keys())
        seeds, digits = max(seeds, len(both)), _DIGITS.get(key, 3)
        if len(both) == 1:
            gap = paired(own[both[0]], base[both[0]])
        else:
            gap = paired(*({seed: fmean(one[seed].values()) for seed in both} for one in (own, base)))
        texts.append(estimated(gap, digits, signed=True))
    return [str(seeds), *texts]
