"""From a cell to its tasks: the student it starts from, masks of what that restores, training, tests."""

from __future__ import annotations

from collections.abc import Iterator

from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.mask_tasks import mask_task
from sapd_plugin.experiments.measuring_tasks import cost_task, test_task
from sapd_plugin.experiments.run import Recipes
from sapd_plugin.experiments.tasks import Task
from sapd_plugin.experiments.training_tasks import log_task, published_task, train_task


def chain(recipes: Recipes, cell: Cell) -> Iterator[Task]:
    """Yield what has to be done for one cell, each task after those that it needs."""
    arm = recipes.arm(cell)
    if arm.published:
        yield published_task(recipes, cell)
    else:
        if arm.has_priors and recipes.settings.masks is None and arm.masks.store is None:
            if recipes.mask_source(arm) == 'restored':
                yield train_task(recipes, recipes.giver(cell))
            yield mask_task(recipes, cell)
        start = recipes.start(cell)
        if start is not None:
            yield train_task(recipes, start)
        yield train_task(recipes, cell)
        if arm.has_priors:
            yield log_task(recipes, cell)
    for test_set in recipes.test_sets:
        yield test_task(recipes, cell, test_set)
    if arm.published or cell.seed == recipes.table.seeds[0]:
        yield cost_task(recipes, cell)  # other seeds cost the same
