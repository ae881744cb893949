"""The rows of a report: cells of one model, size and arm, brought together over seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from sapd_plugin.experiments.catalogue import Catalogue
from sapd_plugin.experiments.definitions import Table, Yardstick
from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.statistics import Estimate, estimate, paired

METRICS = ('psnr', 'ssim')


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        framework, model, size: of the student.
        arm: its name, ``quoted`` for a yardstick.
        label: what a reader sees.
        values: (test set, metric) -> estimate over seeds.
        gains: the same, as paired differences to the stock arm.
        iterations: of the training; None: not trained here.
        as_published: whether that is the published number.
        masks: segmenter and source; empty: none.
        images: test set -> how many images the values are means over; several where runs differ.
        cost: parameters, MACs, time, memory of one student.
    """

    framework: str
    model: str
    size: str
    arm: str
    label: str
    values: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    gains: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    iterations: int | None = None
    as_published: bool = True
    masks: str = ''
    images: dict[str, list[int]] = field(default_factory=dict)
    cost: dict[str, Any] = field(default_factory=dict)


def rows(catalogue: Catalogue, table: Table, framework: str, found: Sequence[Results]) -> Iterator[Row]:
    """Yield yardsticks and arms, model by model; an arm without results is an empty row.

    Only results by the table's protocol count, and runs of different lengths are kept apart.
    """
    mine = [r for r in found if r.cell.table == table.name and r.cell.framework == framework]
    seen = set()
    for cell in catalogue.cells(table, framework):
        place = (cell.model, cell.size)
        if place not in seen:
            seen.add(place)
            yield from _quoted(framework, [y for y in table.yardsticks if (y.model, y.size) == place])
        if (*place, cell.arm) in seen:
            continue
        seen.add((*place, cell.arm))
        runs = [r for r in mine if (r.cell.model, r.cell.size, r.cell.arm) == (*place, cell.arm) and r.tests]
        stock = [r for r in mine if (r.cell.model, r.cell.size, r.cell.arm) == (*place, 'stock')]
        lengths = sorted({r.training.get('iterations') or 0 for r in runs}) or [0]
        for length in lengths:
            equal = [r for r in runs if (r.training.get('iterations') or 0) == length]
            rivals = [r for r in stock if (r.training.get('iterations') or 0) == length]
            yield _arm(catalogue, table, cell, equal, rivals, length)


def _quoted(framework: str, yardsticks: Sequence[Yardstick]) -> Iterator[Row]:
    """A row for each source and note."""
    for source in dict.fromkeys((y.source, y.note) for y in yardsticks):
        mine = [y for y in yardsticks if (y.source, y.note) == source]
        values = {(y.test, m): Estimate(v, None, 0) for y in mine for m in METRICS if (v := getattr(y, m)) is not None}
        label = f'quoted: {"; ".join(filter(None, source))}'
        yield Row(framework, mine[0].model, mine[0].size, 'quoted', label, values)


def _arm(catalogue: Catalogue, table: Table, cell: Any, runs: list[Results], stock: list[Results], length: int) -> Row:
    values, gains = {}, {}
    for test in table.tests:
        for metric in METRICS:
            own, base = (
                {r.cell.seed: r.tests[test][metric] for r in part if r.holds(test, table)} for part in (runs, stock)
            )
            mean = estimate(list(own.values()))
            if mean is None:
                continue
            values[test, metric] = mean
            gain = paired(own, base)
            if gain is not None and cell.arm not in ('stock', 'published'):
                gains[test, metric] = gain
    return Row(
        cell.framework,
        cell.model,
        cell.size,
        cell.arm,
        catalogue.arms[cell.arm].label,
        values,
        gains,
        length or None,
        all(r.training.get('as_published', True) for r in runs),
        ', '.join(sorted({r.training.get('masks') or '' for r in runs})),
        {t: sorted({r.tests[t]['images'] for r in runs if r.holds(t, table)}) for t in table.tests},
        next((r.cost for r in runs if r.cost), {}),
    )
