"""The run of a cell, the tasks of a run, and the checks before the first task."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.core import find_vgg
from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.experiments.catalogue import Catalogue, Cell
from sapd_plugin.experiments.definitions import PRETRAINING, Settings
from sapd_plugin.experiments.run import Run
from sapd_plugin.experiments.runner import Task
from sapd_plugin.experiments.tasks import CostTask, MaskTask, PublishedTask, TestTask, TrainTask, read_published
from sapd_plugin.priors.segmenters import find_sam_checkpoint
from sapd_plugin.priors.store import MaskStore

_SIDES = {'basicsr': 'BasicSRRun', 'mmagic': 'MMagicRun'}


def load_framework(name: str) -> type[Run]:
    """Import a framework's subclass of `Run`.

    Raises:
        SAPDError: the framework is unknown or not installed.
    """
    check_choice('--framework', name, _SIDES)
    alias_functional_tensor()
    try:
        return getattr(importlib.import_module(f'sapd_plugin.experiments.{name}'), _SIDES[name])
    except ModuleNotFoundError as error:
        raise SAPDError(f'--framework: {name} cannot be imported here: {error}.') from error


class Resolver:
    """Resolve cells to runs of one framework, each cell once."""

    def __init__(self, catalogue: Catalogue, framework: type[Run], settings: Settings) -> None:
        self.catalogue, self.framework, self.settings = catalogue, framework, settings
        self._runs: dict[Cell, Run] = {}

    def run(self, cell: Cell) -> Run:
        """Return the run of a cell."""
        if cell not in self._runs:
            table, arm, _ = self.catalogue.of(cell)
            provider = None
            if arm.has_priors and self.settings.masks is None and arm.masks.store is None:
                stock = self.stock_cell(cell, table.mask_provider)
                provider = self._start(stock) or self.run(stock)
            teacher = self.run(replace(cell, arm=arm.teacher)) if arm.teacher is not None else None
            self._runs[cell] = self.framework(cell, self.catalogue, self.settings, self._start(cell), provider, teacher)
        return self._runs[cell]

    def stock_cell(self, cell: Cell, model: str | None = None) -> Cell:
        """Return the stock cell with the first seed, for the same or a different model."""
        return replace(cell, model=model or cell.model, arm='stock', seed=self.catalogue.tables[cell.table].seeds[0])

    def _start(self, cell: Cell) -> Run | None:
        table = self.catalogue.tables[cell.table]
        if cell.arm == PRETRAINING or self.framework.framework not in table.entries[cell.model].pretraining:
            return None
        return self.run(replace(cell, arm=PRETRAINING, seed=table.seeds[0]))


def plan(resolver: Resolver, cell: Cell) -> Iterator[Task]:
    """Yield the tasks of a cell, each after those that it depends on."""
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
        if run.teacher is not None:
            yield TrainTask(run.teacher)
        yield TrainTask(run)
    for test_set in run.test_sets:
        yield TestTask(run, test_set)
    if run.arm.published or cell.seed == run.table.seeds[0]:
        yield CostTask(run, resolver.run(resolver.stock_cell(cell)))  # other seeds cost the same


def check(runs: Sequence[Run]) -> None:
    """Check that all inputs of one table's runs exist, before the first run starts.

    Raises:
        SAPDError: the given store does not hold the masks that an arm needs; or images, VGG-19 or SAM weights, or a
            published checkpoint is missing.
    """
    settings, table = runs[0].settings, runs[0].table
    if settings.masks is not None:
        _check_store(settings.masks, runs)
    missing = _missing_images(runs)
    if missing:
        raise SAPDError(
            f'--data: {table.name} needs images in {", ".join(map(str, missing))}, found none there. '
            f'`{table.made_by}` makes these folders from the downloaded data sets.'
        )
    if any(run.arm.sgr is not None for run in runs) and find_vgg(settings.vgg) is None:
        raise SAPDError(
            '--vgg-checkpoint: SGR needs VGG-19 weights, found none at $SAPD_VGG_CHECKPOINT or in '
            "torch hub's cache. `sapd weights` says where they come from."
        )
    named = dict(zip(settings.segmenter[::2], settings.segmenter[1::2])).get('--checkpoint')
    uses_sam = any(run.mask_provider is not None and 'sam' in run.segmenter for run in runs)
    if uses_sam and find_sam_checkpoint(named) is None:
        raise SAPDError(
            "--sam-checkpoint: found no SAM weights at $SAPD_SAM_CHECKPOINT or in torch hub's cache. "
            '`sapd weights` says where they come from; --segmenter felzenszwalb needs none.'
        )
    for run in runs:
        if run.published is not None:
            read_published(run.published)


def _check_store(path: Path, runs: Sequence[Run]) -> None:
    found = MaskStore(path).settings
    for run in runs:
        for key, value in (('source', run.arm.masks.source), ('segmenter', run.arm.masks.segmenter)):
            if value is not None and found.get(key) != value:
                raise SAPDError(
                    f'--masks: {run.cell.arm} needs masks with {key} {value}, found {found.get(key)} in {path}. '
                    'Run this arm in a separate command with its own store, or leave out --masks to extract them.'
                )


def _missing_images(runs: Sequence[Run]) -> list[Path]:
    """Return the image folders that are missing or empty; a BasicSR LMDB is a folder, too."""
    sets = [*runs[0].test_sets, runs[0].validation]
    folders = [test_set.folder / kind for test_set in sets for kind in test_set.kinds]
    for run in runs:
        if not run.arm.published:
            folders += run.training_images.values()
            if run.mask_provider is not None:
                folders.append(run.mask_images)
            if run.store is not None and run.arm.masks.store is not None:
                folders.append(run.store)
    return [folder for folder in dict.fromkeys(folders) if not folder.is_dir() or not any(folder.iterdir())]
