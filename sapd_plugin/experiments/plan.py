"""From a cell to its tasks: the student it starts from, masks of what that restores, training, tests."""

from __future__ import annotations

from collections.abc import Iterator

from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.measuring import CostTask, TestTask
from sapd_plugin.experiments.run import Resolver
from sapd_plugin.experiments.runner import Task
from sapd_plugin.experiments.tasks import MaskTask, PublishedTask, TrainTask


def plan(resolver: Resolver, cell: Cell) -> Iterator[Task]:
    """Yield what has to be done for one cell, each task after those that it needs."""
    run = resolver.run(cell)
    if run.arm.published:
        yield PublishedTask(run)
    else:
        if run.mask_provider is not None:
            if run.mask_source == 'restored':
                yield TrainTask(run.mask_provider)
            yield MaskTask(run)
        if run.start is not None:
            yield TrainTask(run.start)
        yield TrainTask(run)
    for test_set in run.test_sets:
        yield TestTask(run, test_set)
    if run.arm.published or cell.seed == run.table.seeds[0]:
        yield CostTask(run, resolver.run(resolver.stock_cell(cell)))  # other seeds cost the same
