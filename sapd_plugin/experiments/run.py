"""One run: a cell with everything that it depends on, its training config, its commands, and their output files."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

from sapd_plugin.core.delta import LOSSES
from sapd_plugin.errors import SAPDError, check_count
from sapd_plugin.experiments.catalogue import Catalogue, Cell
from sapd_plugin.experiments.config_changes import Place, get_key, move_data, set_keys, stretch
from sapd_plugin.experiments.definitions import PRETRAINING, Settings, Table


@dataclass(frozen=True)
class EvalSet:
    """A test set of a table: its folder holds ``input`` (unless the test adds the noise) and ``target``."""

    name: str
    folder: Path
    table: Table

    @property
    def kinds(self) -> tuple[str, ...]:
        """The names of the image sub-folders."""
        return ('target',) if self.table.sigma is not None else ('input', 'target')


@dataclass(frozen=True)
class Log:
    """The logged values of a training run, by iteration.

    Attributes:
        curve: validation PSNR.
        losses: losses with the names ``l_NAME``, and ``psnr_restored`` and ``psnr_refined``.
    """

    curve: dict[int, float] = field(default_factory=dict)
    losses: dict[int, dict[str, float]] = field(default_factory=dict)


class Run(ABC):
    """A cell in a framework, resolved from the tables and the command line.

    Args:
        cell: the cell to run.
        catalogue: holds the cell's table, arm and model.
        settings: settings of the command line.
        start: the run whose student this one starts from; None means from scratch.
        mask_provider: the run whose student restores the images that masks are extracted from, the same for all seeds
            and arms; None means that no masks have to be extracted.
        teacher: the run whose SPF this one starts with; None means that SPF starts untrained.

    Attributes:
        folder: holds all files of the cell; the framework works in it.
        config: path of the training config.
    """

    framework: ClassVar[Literal['basicsr', 'mmagic']]
    suffix: ClassVar[str]  # of config files
    # Below ``folder``: the student after the last iteration, and the states that training can resume from.
    checkpoints: ClassVar[str]
    states: ClassVar[str]
    network_key: ClassVar[str]
    iterations_key: ClassVar[str]
    batch_key: ClassVar[str]

    def __init__(
        self,
        cell: Cell,
        catalogue: Catalogue,
        settings: Settings,
        start: Run | None = None,
        mask_provider: Run | None = None,
        teacher: Run | None = None,
    ) -> None:
        self.cell, self.settings, self.start, self.mask_provider = cell, settings, start, mask_provider
        self.teacher = teacher
        self.table, self.arm, self.model = catalogue.of(cell)
        self.entry = self.table.entries[cell.model]
        self.folder = cell.folder(settings.root)
        self.config = self.folder / f'train{self.suffix}'

    @property
    def name(self) -> str:
        """The pattern that selects the cell on the command line."""
        return f'{self.cell.table}/{self.cell}' if self.table.group else str(self.cell)

    @property
    def published(self) -> Path | None:
        """The path of the authors' checkpoint; None if the arm does not test it."""
        checkpoint = self.table.published(self.model) if self.arm.published else None
        return self.settings.checkpoints / checkpoint if checkpoint else None

    @property
    def checkpoint(self) -> Path:
        """The path of the student after the last iteration; the file exists once training has finished."""
        return self.folder / self.checkpoints.format(name=self.cell.name, iterations=self.iterations)

    @property
    def student(self) -> Path:
        """The path of the weights to test: the checkpoint, or the authors' weights in the framework's format."""
        return self.folder / 'student.pth' if self.arm.published else self.checkpoint

    @property
    def test_sets(self) -> list[EvalSet]:
        """The table's test sets, or those of them that the command line names."""
        names = self.settings.tests or self.table.tests
        return [EvalSet(name, self.settings.data / self.table.tests[name], self.table) for name in names]

    @property
    def validation(self) -> EvalSet:
        """The images of the validation curve. No checkpoint is selected by it: the last iteration is tested."""
        if self.table.validation is None:
            return self.test_sets[0]
        return EvalSet('val', self.settings.data / self.table.validation, self.table)

    @property
    def mask_source(self) -> str:
        """The images that masks are extracted from; the arm takes precedence over the command line."""
        return self.arm.masks.source or self.settings.mask_source

    @property
    def segmenter(self) -> tuple[str, ...]:
        """The segmenter's arguments of ``sapd extract-masks``; the arm takes precedence over the command line."""
        own = self.arm.masks.segmenter
        return ('--segmenter', own) if own is not None else self.settings.segmenter

    @property
    def store(self) -> Path | None:
        """The path of the mask store; None if the arm has no priors."""
        masks, settings = self.arm.masks, self.settings
        if not self.arm.has_priors:
            return None
        if masks.store is not None:
            return settings.data / masks.store
        if settings.masks is not None:
            return settings.masks
        provider = self.table.mask_provider or self.cell.model
        name = f'{provider}-{self.cell.size}' if self.mask_source == 'restored' else f'{self.mask_source}-{provider}'
        name += f'-{masks.segmenter}' if masks.segmenter else ''
        return settings.root / self.framework / self.table.name / 'masks' / name

    @property
    def mask_images(self) -> Path:
        """The folder of the images that masks are extracted from."""
        assert self.mask_provider is not None
        own = self.table.mask_images  # if training makes its degraded images itself
        if own is not None and self.mask_source != 'target':
            return self.settings.data / own
        return self.mask_provider.training_images['target' if self.mask_source == 'target' else 'input']

    @property
    def blocks(self) -> dict[str, dict[str, Any]]:
        """The arm's config blocks by the names ``spf``, ``spd``, ``sgr``, ``step``, ``dataset``; none if stock."""
        if not self.arm.has_priors:
            return {}
        blocks: dict[str, dict[str, Any]] = {'spf': {'type': 'SPF', **(self.arm.spf or {})}, 'step': {**self.arm.step}}
        if self.arm.spd is not None:
            blocks['spd'] = {**LOSSES['spd'], **self.arm.spd}
        if self.arm.sgr is not None:
            weights = {'weights': str(self.settings.vgg)} if self.settings.vgg else {}
            blocks['sgr'] = {**LOSSES['sgr'], **weights, **self.arm.sgr}
        blocks['dataset'] = {'type': 'PairedImageMaskDataset', 'mask_store': str(self.store), **self.arm.dataset}
        return blocks

    @property
    def published_iterations(self) -> int:
        """The number of iterations of the stock config."""
        return self._count(self.stock, self.iterations_key)

    @property
    def iterations(self) -> int:
        """The number of iterations of this training run."""
        return self._count(self.options, self.iterations_key)

    @property
    def batch(self) -> int:
        """The number of images per step over all processes."""
        return self.settings.batch or self._count(self.stock, self.batch_key) * self.entry.gpus

    def _count(self, options: Mapping[str, Any], key: str) -> int:
        where = str(self.entry.configs[self.framework])
        value = get_key(options, key, where)
        check_count(f'{where}: {key}', value)
        return int(value)

    @cached_property
    def options(self) -> dict[str, Any]:
        """The training config: the stock config with the changes of the tables and the command line.

        Raises:
            SAPDError: the table sets a key that the stock config does not have, the stock config is not one of a
                training, or the batch cannot be shared evenly.
        """
        stock, settings = self.entry.configs[self.framework], self.settings
        asked, processes = settings.iterations, settings.launch.gpus
        changes = dict(self.entry.changes.get(self.framework, {}))
        if self.cell.arm == PRETRAINING:
            changes |= self.entry.pretraining.get(self.framework, {})
        options = deepcopy(self.stock)
        set_keys(options, changes, str(stock))
        options = move_data(options, settings.data)
        network = get_key(options, self.network_key, str(stock))
        if not isinstance(network, dict):
            raise SAPDError(f'{stock}: {self.network_key}: found {network!r}, expected the block of a network.')
        network.update(self.model.overrides(self.cell.size, self.framework))
        if self.batch % processes:
            raise SAPDError(
                f'--gpus: {self.cell.name} trains on batches of {self.batch}, which {processes} processes cannot share '
                'evenly.'
            )
        set_keys(options, {self.batch_key: self.batch // processes}, str(stock))
        if self.arm.longer:
            asked = round((asked or self.published_iterations) * self.entry.time_factor)
        try:
            if asked is not None:
                stretch(asked / self._count(options, self.iterations_key), asked, *self.schedule(options))
            self.adapt(options)
        except SAPDError:
            raise
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            reason = f'{type(error).__name__}: {error}'
            raise SAPDError(f'{stock}: not the config of a {self.framework} training ({reason}).') from error
        return options

    @property
    def text(self) -> str:
        """The text of the training config file."""
        return self.dump(self.options)

    @property
    def saved_states(self) -> dict[Path, int]:
        """The files of the states that training can resume from, and when each was written (in ns)."""
        found = self.folder.glob(self.states.format(name=self.cell.name))
        return {path: path.stat().st_mtime_ns for path in found}

    @property
    def resumable(self) -> bool:
        """True if there is a saved state that training can resume from."""
        return bool(self.saved_states)

    @property
    def stock(self) -> dict[str, Any]:
        """The stock config; do not modify it."""
        return self.read_config(self.entry.configs[self.framework])

    @staticmethod
    @abstractmethod
    def read_config(path: Path) -> dict[str, Any]:
        """Read a config as plain dicts; the caller must not modify them."""

    @staticmethod
    @abstractmethod
    def schedule(options: dict[str, Any]) -> tuple[Iterable[Place], Iterable[Place]]:
        """Return the places of a config's iterations and of its intervals; some of the keys may be missing."""

    @abstractmethod
    def adapt(self, options: dict[str, Any]) -> None:
        """Set what differs between the frameworks: name, seed, noise, validation, priors and initial weights."""

    @staticmethod
    @abstractmethod
    def dump(options: Mapping[str, Any]) -> str:
        """Return a config as the text of a file."""

    @property
    @abstractmethod
    def training_images(self) -> dict[str, Path]:
        """The folders of training images, ``input`` and ``target``; if training adds noise, both are the clean ones."""

    @abstractmethod
    def train_command(self, resume: bool) -> list[str]:
        """Return the command that starts or resumes training."""

    @abstractmethod
    def test_options(self, test_set: EvalSet) -> dict[str, Any]:
        """Return the config for testing the student: stock except for the protocol of the metrics."""

    @abstractmethod
    def test_command(self, config: Path, test_set: EvalSet) -> list[str]:
        """Return the command that runs the test and writes its results below the folder."""

    @abstractmethod
    def read_metrics(self, test_set: EvalSet, output: str) -> dict[str, float]:
        """Return PSNR and SSIM of a finished test, given its printed ``output``."""

    @staticmethod
    @abstractmethod
    def save_student(state: Mapping[str, Any], path: Path) -> None:
        """Write a plain state dict as a checkpoint of the framework."""

    @staticmethod
    @abstractmethod
    def read_log(folder: Path, name: str) -> Log:
        """Read the logs of the training run ``name`` in a cell's folder; a resumed run has several."""
