"""From a cell to its run, and from the run to its tasks."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import replace

from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.experiments.catalogue import Catalogue, Cell
from sapd_plugin.experiments.definitions import PRETRAINING
from sapd_plugin.experiments.measuring import CostTask, TestTask
from sapd_plugin.experiments.run import Run
from sapd_plugin.experiments.runner import Task
from sapd_plugin.experiments.settings import Settings
from sapd_plugin.experiments.tasks import MaskTask, PublishedTask, TrainTask

_SIDES = {'basicsr': 'BasicSRRun', 'mmagic': 'MMagicRun'}


def load_framework(name: str) -> type[Run]:
    """Import a framework's side of the tables.

    Raises:
        SAPDError: no such framework, or one that is not installed.
    """
    check_choice('--framework', name, _SIDES)
    alias_functional_tensor()
    try:
        return getattr(importlib.import_module(f'sapd_plugin.experiments.{name}'), _SIDES[name])
    except ModuleNotFoundError as error:
        raise SAPDError(f'--framework: {name} cannot be imported here: {error}.') from error


class Resolver:
    """Resolves the cells of tables in one framework, each once.

    Args:
        catalogue: of the cells' tables.
        framework: whose trainings are run.
        settings: of the command line.
    """

    def __init__(self, catalogue: Catalogue, framework: type[Run], settings: Settings) -> None:
        self.catalogue, self.framework, self.settings = catalogue, framework, settings
        self._runs: dict[Cell, Run] = {}

    def run(self, cell: Cell) -> Run:
        """Resolve a cell."""
        if cell not in self._runs:
            table, arm, _ = self.catalogue.of(cell)
            provider = None
            if arm.has_priors and self.settings.masks is None and arm.masks.store is None:
                stock = self.stock_cell(cell, table.mask_provider)
                provider = self._start(stock) or self.run(stock)
            self._runs[cell] = self.framework(cell, self.catalogue, self.settings, self._start(cell), provider)
        return self._runs[cell]

    def stock_cell(self, cell: Cell, model: str | None = None) -> Cell:
        """Return the stock cell with the first seed, of the same model or another one."""
        return replace(cell, model=model or cell.model, arm='stock', seed=self.catalogue.tables[cell.table].seeds[0])

    def _start(self, cell: Cell) -> Run | None:
        table = self.catalogue.tables[cell.table]
        if cell.arm == PRETRAINING or self.framework.framework not in table.entries[cell.model].pretraining:
            return None
        return self.run(replace(cell, arm=PRETRAINING, seed=table.seeds[0]))


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
