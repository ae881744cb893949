"""What a cell depends on: the student it starts from, who gives its masks, its training, and where its files lie."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from sapd_plugin.experiments.catalogue import Catalogue, Cell
from sapd_plugin.experiments.definitions import PRETRAINING, Arm, Table
from sapd_plugin.experiments.framework import EvalSet, Framework, Training, batch_per_process
from sapd_plugin.experiments.settings import Settings

T = TypeVar('T')


@dataclass(frozen=True)
class Recipes:
    """Answers for the cells of one table in one framework."""

    catalogue: Catalogue
    table: Table
    framework: Framework
    settings: Settings

    def arm(self, cell: Cell) -> Arm:
        """The cell's arm."""
        return self.catalogue.arms[cell.arm]

    def folder(self, cell: Cell) -> Path:
        """Where everything of the cell lies."""
        return cell.folder(self.settings.root)

    def name(self, cell: Cell) -> str:
        """The cell as its pattern on the command line."""
        return f'{cell.table}/{cell}' if self.table.group else str(cell)

    @property
    def test_sets(self) -> list[EvalSet]:
        """Those that are tested on."""
        names = self.settings.tests or tuple(self.table.tests)
        return [EvalSet(name, self.settings.data / self.table.tests[name], self.table) for name in names]

    @property
    def validation(self) -> EvalSet:
        """What the training is validated on."""
        if self.table.validation is None:
            return self.test_sets[0]
        return EvalSet('val', self.settings.data / self.table.validation, self.table)

    def giver(self, cell: Cell) -> Cell:
        """The cell whose student restores the images that masks are cut on; one for all seeds and arms."""
        giver = replace(self.stock(cell), model=self.table.mask_provider or cell.model)
        return self.start(giver) or giver

    def stock(self, cell: Cell) -> Cell:
        """The stock cell of the first seed."""
        return replace(cell, arm='stock', seed=self.table.seeds[0])

    def start(self, cell: Cell) -> Cell | None:
        """The cell whose student this one's training starts from; None: from scratch."""
        if cell.arm == PRETRAINING or self.framework.name not in self.table.entries[cell.model].pretraining:
            return None
        return replace(cell, arm=PRETRAINING, seed=self.table.seeds[0])

    def mask_source(self, arm: Arm) -> str:
        """Which images are cut: what the arm says, or the command line."""
        return arm.masks.source or self.settings.mask_source

    def segmenter(self, arm: Arm) -> tuple[str, ...]:
        """Arguments of tools/extract_masks.py: what the arm says, or the command line."""
        return ('--segmenter', arm.masks.segmenter) if arm.masks.segmenter else self.settings.segmenter

    def training(self, cell: Cell) -> Training:
        """What makes a cell's training config."""
        entry, model = self.table.entries[cell.model], self.catalogue.models[cell.model]
        stock = entry.configs[self.framework.name]
        start, changes = self.start(cell), dict(entry.changes.get(self.framework.name, {}))
        if cell.arm == PRETRAINING:
            changes |= entry.pretraining.get(self.framework.name, {})
        launch = self.settings.launch
        total = self.settings.batch or self.framework.batch(stock) * entry.gpus
        return Training(
            stock=stock,
            name=f'{cell.table}_{cell.model}_{cell.size}_{cell.arm}_{cell.seed}',
            arm=self.arm(cell),
            seed=cell.seed,
            validation=self.validation,
            network=model.overrides(cell.size, self.framework.name),
            changes=changes,
            start=self.student(start) if start else None,
            data=self.settings.data,
            masks=self.store(cell),
            vgg=self.settings.vgg,
            iterations=self._iterations(cell, stock),
            batch=batch_per_process(total, launch.gpus, cell),
            gpus=launch.gpus if self.settings.cuda else 0,
            sigma=self.table.sigma,
        )

    def _iterations(self, cell: Cell, stock: Path) -> int | None:
        """How many to train for; None: as the stock config has it."""
        if not self.arm(cell).longer:
            return self.settings.iterations
        asked = self.settings.iterations or self.framework.iterations(stock)
        return round(asked * self.table.entries[cell.model].time_factor)

    def config(self, cell: Cell) -> Path:
        """The cell's training config."""
        return self.folder(cell) / f'train{self.framework.suffix}'

    def checkpoint(self, cell: Cell) -> Path:
        """The authors' file for a published cell."""
        return self.settings.checkpoints / str(self.table.published(self.catalogue.models[cell.model]))

    @property
    def mask_images(self) -> Path | None:
        """The images that are cut where the training makes its degraded ones itself; None: those it reads."""
        return self.settings.data / self.table.mask_images if self.table.mask_images else None

    def training_folders(self, cell: Cell) -> tuple[Path, Path]:
        """The folders of a cell's degraded and clean training images."""
        training, side = self.training(cell), self.framework
        return self.read(training, side.training_inputs), self.read(training, side.training_targets)

    def read(self, training: Training, ask: Callable[[Path], T]) -> T:
        """What a training's config says; the cell's own is not there before it is trained."""
        with TemporaryDirectory() as place:
            config = Path(place) / f'train{self.framework.suffix}'
            config.write_text(self.framework.training(training), encoding='utf-8')
            return ask(config)

    def store(self, cell: Cell) -> Path:
        """The cell's mask store."""
        arm = self.arm(cell)
        if arm.masks.store is not None:
            return self.settings.data / arm.masks.store
        if self.settings.masks is not None:
            return self.settings.masks
        base = self.settings.root / self.framework.name / self.table.name / 'masks'
        source, giver = self.mask_source(arm), self.giver(cell).model
        name = f'{giver}-{cell.size}' if source == 'restored' else f'{source}-{giver}'
        return base / (f'{name}-{arm.masks.segmenter}' if arm.masks.segmenter else name)

    def student(self, cell: Cell) -> Path:
        """The weights that are tested; in a dry run a file that will be there, or a word for it."""
        folder, config = self.folder(cell), self.config(cell)
        if self.arm(cell).published:
            return folder / 'student.pth'
        found = self.framework.trained(config, folder) if config.is_file() else None
        return found or folder / 'CHECKPOINT'
