"""From a cell to its tasks: the stock student, masks of what it restores, training, tests."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import MaskStore
from tables import results
from tables.cells import Cell
from tables.checkpoints import read_published
from tables.definitions import CONFIGS, PRETRAINING, Arm, Catalogue, Table
from tables.runs import TOOLS, EvalSet, Evaluation, Framework, Launch, Training, batch_per_process
from tables.tasks import Task

T = TypeVar('T')

COST_SIZE = (256, 256)
"""Height and width of the image that inference is measured on, as papers have it."""


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
        tests: test sets to leave it at; empty: all of the table.
        masks: a mask store to use; None: cut masks.
        mask_source: which images are cut: 'restored' by the stock student, 'target', 'input'.
        segmenter: arguments of tools/extract_masks.py that say how.
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
class Planner:
    """Makes the tasks of cells of one table in one framework."""

    catalogue: Catalogue
    table: Table
    framework: Framework
    settings: Settings

    def chain(self, cell: Cell) -> Iterator[Task]:
        """Yield what has to be done for one cell, each task after those that it needs."""
        arm = self.catalogue.arms[cell.arm]
        if arm.published:
            yield self._published(cell)
        else:
            if arm.has_priors and self.settings.masks is None and 'store' not in arm.masks:
                if self.mask_source(arm) == 'restored':
                    yield self._train(self._giver(cell))
                yield self._masks(cell)
            start = self._start(cell)
            if start is not None:
                yield self._train(start)
            yield self._train(cell)
        for test_set in self.test_sets:
            yield self._test(cell, test_set)
        if arm.published or cell.seed == self.table.seeds[0]:
            yield self._cost(cell)  # other seeds cost the same

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

    def _giver(self, cell: Cell) -> Cell:
        """The cell whose student restores the images that masks are cut on; one for all seeds and arms."""
        giver = replace(self._stock(cell), model=self.table.mask_giver or cell.model)
        return self._start(giver) or giver

    def _stock(self, cell: Cell) -> Cell:
        """The stock cell of the first seed."""
        return replace(cell, arm='stock', seed=self.table.seeds[0])

    def _start(self, cell: Cell) -> Cell | None:
        """The cell whose student this one's training starts from; None: from scratch."""
        if cell.arm == PRETRAINING or self.framework.name not in self.table.entries[cell.model].pretraining:
            return None
        return replace(cell, arm=PRETRAINING, seed=self.table.seeds[0])

    def mask_source(self, arm: Arm) -> str:
        """Which images are cut: what the arm says, or the command line."""
        return arm.masks.get('source', self.settings.mask_source)

    def segmenter(self, arm: Arm) -> tuple[str, ...]:
        """Arguments of tools/extract_masks.py: what the arm says, or the command line."""
        return ('--segmenter', arm.masks['segmenter']) if 'segmenter' in arm.masks else self.settings.segmenter

    def training(self, cell: Cell) -> Training:
        """What makes a cell's training config."""
        entry, model = self.table.entries[cell.model], self.catalogue.models[cell.model]
        stock = CONFIGS / self.framework.name / entry.configs[self.framework.name]
        start, changes = self._start(cell), dict(entry.set.get(self.framework.name, {}))
        if cell.arm == PRETRAINING:
            changes |= entry.pretraining.get(self.framework.name, {})
        launch = self.settings.launch
        total = self.settings.batch or self.framework.batch(stock) * entry.gpus
        return Training(
            stock=stock,
            name=f'{cell.table}_{cell.model}_{cell.size}_{cell.arm}_{cell.seed}',
            arm=self.catalogue.arms[cell.arm],
            seed=cell.seed,
            validation=self.validation,
            network=model.overrides(cell.size, self.framework.name),
            changes=changes,
            start=self._student(start) if start else None,
            data=self.settings.data,
            masks=self._store(cell),
            vgg=self.settings.vgg,
            iterations=self._iterations(cell, stock),
            batch=batch_per_process(total, launch.gpus, cell),
            gpus=launch.gpus if self.settings.cuda else 0,
            sigma=self.table.sigma,
        )

    def _iterations(self, cell: Cell, stock: Path) -> int | None:
        """How many to train for; None: as the stock config has it."""
        if not self.catalogue.arms[cell.arm].longer:
            return self.settings.iterations
        asked = self.settings.iterations or self.framework.iterations(stock)
        return round(asked * self.table.entries[cell.model].time_factor)

    def _name(self, cell: Cell) -> str:
        """The cell as its pattern on the command line."""
        return f'{cell.table}/{cell}' if self.table.group else str(cell)

    def _config(self, cell: Cell) -> Path:
        return cell.folder(self.settings.root) / f'train{self.framework.suffix}'

    def _train(self, cell: Cell) -> Task:
        folder, config, training = cell.folder(self.settings.root), self._config(cell), self.training(cell)

        def text() -> str:
            return self.framework.training(
                self.training(cell)
            )  # anew: the student that it starts from may be there now

        def keep(seconds: float) -> None:
            found = results.load(cell, self.settings.root)
            asked, published = self.framework.iterations(config), self.framework.iterations(training.stock)
            before = found.training.get('seconds', 0.0)
            found.training = {
                'iterations': asked,
                'as_published': asked == published,
                'batch': training.batch * max(self.settings.launch.gpus, 1) if training.batch else None,
                'seconds': round(before + seconds, 1),
                'masks': _masks_of(training.masks) if training.arm.has_priors else None,
                'finished': self.framework.trained(config, folder) is not None,
            }
            found.save(folder)

        return Task(
            title=f'train {self._name(cell)}',
            folder=folder,
            command=lambda: self.framework.train_command(
                config, folder, self.settings.launch, config.is_file() and self.framework.begun(config, folder)
            ),
            done=lambda: _same(config, text()) and self.framework.trained(config, folder) is not None,
            prepare=lambda: _write(config, text()),
            stopped=keep,
            log=folder / 'train.txt',
            total=self._read(training, self.framework.iterations),
            progress=lambda line: (found, None) if (found := self.framework.iteration(line)) is not None else None,
        )

    def _published(self, cell: Cell) -> Task:
        """The authors' checkpoint, brought into the framework's form."""
        folder, config, training = cell.folder(self.settings.root), self._config(cell), self.training(cell)
        source = self.checkpoint(cell)
        target = folder / 'student.pth'

        def convert() -> None:
            _write(config, self.framework.training(training))
            self.framework.save_student(read_published(source), target)
            found = results.load(cell, self.settings.root)
            found.training = {'checkpoint': source.name, 'sha256': hashlib.sha256(source.read_bytes()).hexdigest()}
            found.save(folder)

        return Task(
            title=f'checkpoint {self._name(cell)}',
            folder=folder,
            done=target.is_file,
            prepare=convert,
        )

    def checkpoint(self, cell: Cell) -> Path:
        """The authors' file for a published cell."""
        return self.settings.checkpoints / str(self.table.published(self.catalogue.models[cell.model]))

    def _masks(self, cell: Cell) -> Task:
        giver, store, arm = self._giver(cell), self._store(cell), self.catalogue.arms[cell.arm]
        config, finished = self._config(giver), store.with_name(f'{store.name}.done')

        def command() -> list[str]:
            source = self.mask_source(arm)
            inputs, targets = self.training_folders(giver)
            folder = targets if source == 'target' else self._mask_images or inputs
            arguments = [
                '--images',
                str(folder),
                '--output',
                str(store),
                *self.segmenter(arm),
            ]
            if source == 'restored':
                arguments += ['--restored-by', str(config), str(self._student(giver))]
            else:
                arguments += ['--source', source]
            return [sys.executable, str(TOOLS / 'extract_masks.py'), *arguments]

        return Task(
            title=f'masks {store.parent.parent.name}/{store.name}' if self.table.group else f'masks {store.name}',
            folder=store.parent,
            command=command,
            done=lambda: _same(finished, shlex.join(command())),
            finish=lambda output: _write(finished, shlex.join(command()), replace_other=True),
            log=store.with_name(f'{store.name}.txt'),
            progress=images_done,
            unit='image',
        )

    @property
    def _mask_images(self) -> Path | None:
        return self.settings.data / self.table.mask_images if self.table.mask_images else None

    def training_folders(self, cell: Cell) -> tuple[Path, Path]:
        """The folders of a cell's degraded and clean training images."""
        training = self.training(cell)
        return self._read(training, self.framework.training_inputs), self._read(
            training, self.framework.training_targets
        )

    def _read(self, training: Training, ask: Callable[[Path], T]) -> T:
        """What a training's config says; the cell's own is not there before it is trained."""
        with TemporaryDirectory() as place:
            config = Path(place) / f'train{self.framework.suffix}'
            config.write_text(self.framework.training(training), encoding='utf-8')
            return ask(config)

    def _store(self, cell: Cell) -> Path:
        arm = self.catalogue.arms[cell.arm]
        if 'store' in arm.masks:
            return self.settings.data / arm.masks['store']
        if self.settings.masks is not None:
            return self.settings.masks
        base = self.settings.root / self.framework.name / self.table.name / 'masks'
        source, giver = self.mask_source(arm), self._giver(cell).model
        name = f'{giver}-{cell.size}' if source == 'restored' else f'{source}-{giver}'
        return base / (f'{name}-{arm.masks["segmenter"]}' if 'segmenter' in arm.masks else name)

    def _test(self, cell: Cell, test_set: EvalSet) -> Task:
        folder, name = cell.folder(self.settings.root), test_set.name
        config, train_config = folder / f'test_{name}{self.framework.suffix}', self._config(cell)

        def testing() -> Evaluation:
            return Evaluation(test_set, self._student(cell), self.settings.save_images)

        def keep(output: str) -> None:
            metrics = self.framework.metrics(folder / f'test_{name}', output)
            if 'psnr' not in metrics:
                raise SAPDError(f'{config}: the test printed no PSNR. Its output:\n{output[-2000:]}')
            found = results.load(cell, self.settings.root)
            found.tests[name] = {
                **metrics,
                'protocol': self.table.protocol,
                'quantise': self.table.quantise,
                'sigma': self.table.sigma,
                'images': len(list((test_set.folder / 'target').iterdir())),
            }
            found.save(folder)

        return Task(
            title=f'test {self._name(cell)} on {name}',
            folder=folder,
            command=lambda: self.framework.test_command(config, folder, testing()),
            done=lambda: results.load(cell, self.settings.root).holds(name, self.table),
            prepare=lambda: _write(config, self.framework.testing(train_config, testing()), replace_other=True),
            finish=keep,
            log=folder / f'test_{name}.txt',
        )

    def _cost(self, cell: Cell) -> Task:
        """What inference costs, the stock student beside it where it is there."""
        folder = cell.folder(self.settings.root)
        arguments = ['--framework', self.framework.name, '--size', *map(str, COST_SIZE), '--json']
        if self.table.protocol == 'grey':
            arguments += ['--channels', '1']

        def command() -> list[str]:
            own, stock = self._student(cell), self._student(self._stock(cell))
            students = [str(own)] if cell.arm == 'stock' or not stock.is_file() else [str(stock), str(own)]
            return [sys.executable, str(TOOLS / 'inference_cost.py'), str(self._config(cell)), *students, *arguments]

        def keep(output: str) -> None:
            costs = json.loads(output[re.search(r'^\[$', output, re.MULTILINE).start() :])
            found = results.load(cell, self.settings.root)
            found.cost = {key: value for key, value in costs[-1].items() if key != 'network'}
            found.cost['over_stock'] = costs[-1]['milliseconds'] / costs[0]['milliseconds'] if costs[1:] else None
            found.save(folder)

        return Task(
            title=f'cost {self._name(cell)}',
            folder=folder,
            command=command,
            done=lambda: bool(results.load(cell, self.settings.root).cost),
            finish=keep,
        )

    def _student(self, cell: Cell) -> Path:
        """The weights that are tested; in a dry run a file that will be there, or a word for it."""
        folder, config = cell.folder(self.settings.root), self._config(cell)
        if self.catalogue.arms[cell.arm].published:
            return folder / 'student.pth'
        found = self.framework.trained(config, folder) if config.is_file() else None
        return found or folder / 'CHECKPOINT'


def _masks_of(store: Path | None) -> str:
    """Segmenter and source of a store's masks, for a reader."""
    settings = MaskStore(store).settings
    preset = f' {settings["preset"]}' if 'preset' in settings else ''
    return f'{settings["segmenter"]}{preset}, {settings.get("source", "unknown source")}'


def images_done(line: str) -> tuple[int, int] | None:
    """Read the extraction's own progress bar."""
    found = re.search(r'\b(\d+)/(\d+) \[', line)
    return (int(found[1]), int(found[2])) if found else None


def _same(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding='utf-8') == text


def _write(path: Path, text: str, replace_other: bool = False) -> None:
    """Write a file that is not there yet.

    Raises:
        SAPDError: one of another content is.
    """
    if path.is_file() and not replace_other and not _same(path, text):
        raise SAPDError(
            f'--output: {path.parent} holds a run of other settings ({path.name} differs from what this command would '
            'write). Name another folder, or delete it.'
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding='utf-8')
