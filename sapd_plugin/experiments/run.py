"""One run: a cell with all that it depends on, resolved once from the tables and the command line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sapd_plugin.experiments.catalogue import Catalogue, Cell
from sapd_plugin.experiments.definitions import PRETRAINING, Arm, Table
from sapd_plugin.experiments.framework import EvalSet, FrameworkRun, Launch, Training


@dataclass(frozen=True)
class Settings:
    """What the command line says about all cells.

    Attributes:
        root: folder of results.
        data: the folder that ``datasets/`` stands for.
        checkpoints: folder of the authors' checkpoints.
        launch: how training is started.
        cuda: whether there is a GPU to train on.
        iterations, batch: of the training, in place of the published ones.
        tests: test sets to restrict tests to; empty: all of the table.
        masks: a mask store to use; None: masks are extracted.
        mask_source: the images that masks are extracted from: 'restored' by the stock student, 'target', 'input'.
        segmenter: arguments of ``sapd extract-masks`` that name the segmenter.
        vgg: VGG-19's weights.
        save_images: keep the restored images.
    """

    root: Path
    data: Path
    checkpoints: Path
    launch: Launch
    cuda: bool = False
    iterations: int | None = None
    batch: int | None = None
    tests: tuple[str, ...] = ()
    masks: Path | None = None
    mask_source: str = 'restored'
    segmenter: tuple[str, ...] = ('--segmenter', 'sam')
    vgg: Path | None = None
    save_images: bool = False


@dataclass(frozen=True)
class Run:
    """A cell, resolved.

    Attributes:
        cell: which.
        table, arm: its own.
        settings: of the command line.
        training: its training in the framework.
        start: the run whose student this one starts from; None: it starts from scratch.
        mask_provider: the run whose student restores the images that masks are extracted from, one for all seeds and
            arms; None: the run needs no masks extracted.
        store: the mask store, where the arm has priors.
        published: the authors' checkpoint, where the arm tests that.
    """

    cell: Cell
    table: Table
    arm: Arm
    settings: Settings
    training: FrameworkRun
    start: Run | None
    mask_provider: Run | None
    store: Path | None
    published: Path | None

    @property
    def name(self) -> str:
        """The cell as its pattern on the command line."""
        return f'{self.cell.table}/{self.cell}' if self.table.group else str(self.cell)

    @property
    def folder(self) -> Path:
        """The folder of everything that belongs to the cell."""
        return self.training.folder

    @property
    def student(self) -> Path:
        """The weights that are tested; the file is there once the training is finished."""
        return self.folder / 'student.pth' if self.arm.published else self.training.checkpoint

    @property
    def test_sets(self) -> list[EvalSet]:
        """The sets that the student is tested on."""
        return find_test_sets(self.table, self.settings)

    @property
    def mask_source(self) -> str:
        """The images that masks are extracted from: what the arm says, or the command line."""
        return self.arm.masks.source or self.settings.mask_source

    @property
    def segmenter(self) -> tuple[str, ...]:
        """Arguments of ``sapd extract-masks``: what the arm says, or the command line."""
        own = self.arm.masks.segmenter
        return ('--segmenter', own) if own is not None else self.settings.segmenter

    @property
    def mask_images(self) -> Path:
        """The folder of the images that masks are extracted from."""
        assert self.mask_provider is not None
        if self.mask_source == 'target':
            return self.mask_provider.training.targets
        own = self.table.mask_images  # where the training makes its degraded images itself
        return self.settings.data / own if own else self.mask_provider.training.inputs


def find_test_sets(table: Table, settings: Settings) -> list[EvalSet]:
    """Return a table's test sets, without those that the command line leaves out."""
    return [EvalSet(name, settings.data / table.tests[name], table) for name in settings.tests or table.tests]


class Resolver:
    """Resolves the cells of tables in one framework, each once.

    Args:
        catalogue: of the cells' tables.
        framework: whose trainings are run.
        settings: of the command line.
    """

    def __init__(self, catalogue: Catalogue, framework: type[FrameworkRun], settings: Settings) -> None:
        self.catalogue, self.framework, self.settings = catalogue, framework, settings
        self._runs: dict[Cell, Run] = {}

    def run(self, cell: Cell) -> Run:
        """Resolve a cell."""
        if cell not in self._runs:
            self._runs[cell] = self._resolve(cell)
        return self._runs[cell]

    def stock_cell(self, cell: Cell, model: str | None = None) -> Cell:
        """Return the stock cell with the first seed, of the same model or another one."""
        return replace(cell, model=model or cell.model, arm='stock', seed=self.catalogue.tables[cell.table].seeds[0])

    def _resolve(self, cell: Cell) -> Run:
        table, arm, settings = self.catalogue.tables[cell.table], self.catalogue.arms[cell.arm], self.settings
        start = self._start(table, cell)
        store = self._store(table, arm, cell) if arm.has_priors else None
        extracted = arm.has_priors and settings.masks is None and arm.masks.store is None
        provider = self.stock_cell(cell, table.mask_provider) if extracted else None
        checkpoint = table.published(self.catalogue.models[cell.model]) if arm.published else None
        return Run(
            cell=cell,
            table=table,
            arm=arm,
            settings=settings,
            training=self.framework(self._training(table, arm, cell, start, store), cell.folder(settings.root)),
            start=start,
            mask_provider=(self._start(table, provider) or self.run(provider)) if provider else None,
            store=store,
            published=settings.checkpoints / checkpoint if checkpoint else None,
        )

    def _start(self, table: Table, cell: Cell) -> Run | None:
        if cell.arm == PRETRAINING or self.framework.framework not in table.entries[cell.model].pretraining:
            return None
        return self.run(replace(cell, arm=PRETRAINING, seed=table.seeds[0]))

    def _store(self, table: Table, arm: Arm, cell: Cell) -> Path:
        if arm.masks.store is not None:
            return self.settings.data / arm.masks.store
        if self.settings.masks is not None:
            return self.settings.masks
        source, provider = arm.masks.source or self.settings.mask_source, table.mask_provider or cell.model
        name = f'{provider}-{cell.size}' if source == 'restored' else f'{source}-{provider}'
        folder = self.settings.root / self.framework.framework / table.name / 'masks'
        return folder / (f'{name}-{arm.masks.segmenter}' if arm.masks.segmenter else name)

    def _training(self, table: Table, arm: Arm, cell: Cell, start: Run | None, store: Path | None) -> Training:
        entry, settings = table.entries[cell.model], self.settings
        framework: Any = self.framework.framework  # or mypy wants a literal
        changes = dict(entry.changes.get(framework, {}))
        if cell.arm == PRETRAINING:
            changes |= entry.pretraining.get(framework, {})
        if table.validation is None:
            validation = find_test_sets(table, settings)[0]
        else:
            validation = EvalSet('val', settings.data / table.validation, table)
        return Training(
            stock=entry.configs[framework],
            name=cell.name,
            arm=arm,
            seed=cell.seed,
            validation=validation,
            network=self.catalogue.models[cell.model].overrides(cell.size, framework),
            changes=changes,
            start=start.student if start else None,
            data=settings.data,
            masks=store,
            vgg=settings.vgg,
            iterations=settings.iterations,
            time_factor=entry.time_factor if arm.longer else None,
            batch=settings.batch,
            published_gpus=entry.gpus,
            processes=settings.launch.gpus,
            gpus=settings.launch.gpus if settings.cuda else 0,
            sigma=table.sigma,
        )
