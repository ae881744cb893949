"""What a cell's training and tests are made of, whatever the framework."""

from __future__ import annotations

import importlib
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.experiments.config_changes import get_key
from sapd_plugin.experiments.definitions import Arm, Table

_SIDES = {'basicsr': 'BasicSRRun', 'mmagic': 'MMagicRun'}


@dataclass(frozen=True)
class Launch:
    """How training is started: alone, on several GPUs by torchrun, or by Slurm's srun with the given arguments."""

    gpus: int = 1
    slurm: str | None = None

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return the command that starts a training module of an adapter, which knows ``--launcher``."""
        if self.slurm is not None:
            srun = ['srun', *shlex.split(self.slurm), f'--ntasks={self.gpus}', '--kill-on-bad-exit=1']
            return [*srun, sys.executable, '-m', module, *arguments, '--launcher', 'slurm']
        if self.gpus > 1:
            torchrun = ['-m', 'torch.distributed.run', f'--nproc-per-node={self.gpus}']
            return [sys.executable, *torchrun, '-m', module, *arguments, '--launcher', 'pytorch']
        return [sys.executable, '-m', module, *arguments]


@dataclass(frozen=True)
class EvalSet:
    """A test set of a table: its folder holds ``input`` (unless the test adds the noise) and ``target``."""

    name: str
    folder: Path
    table: Table

    @property
    def kinds(self) -> tuple[str, ...]:
        """The sub-folders of images."""
        return ('target',) if self.table.sigma is not None else ('input', 'target')


@dataclass(frozen=True)
class Training:
    """What makes a cell's training config out of the stock config.

    Attributes:
        stock: the framework's config file.
        name: of the experiment.
        arm: what is added.
        seed: of the framework.
        validation: what the curve is measured on. Nothing is chosen by it: the last iteration is tested.
        network: overrides of the network's block.
        changes: dotted config keys of the stock config, and their values.
        start: checkpoint of the student that the training starts from; None: from scratch.
        data: the folder that ``datasets/`` stands for.
        masks: the mask store, where the arm has priors.
        vgg: VGG-19's weights for SGR; None: SGRLoss looks for them.
        iterations: of a shorter or longer training, whose schedule is stretched; None: as the config has it.
        time_factor: the iterations are multiplied by it; None: they are not.
        batch: images per step in all processes; None: the stock config's, by ``published_gpus``.
        published_gpus: number of GPUs that the stock config's batch was published for.
        processes: that share the batch.
        gpus: of the training; 0: on the CPU.
        sigma: of the noise that the training adds, where it is one level; None: as the stock config has it.
    """

    stock: Path
    name: str
    arm: Arm
    seed: int
    validation: EvalSet
    network: Mapping[str, Any] = field(default_factory=dict)
    changes: Mapping[str, Any] = field(default_factory=dict)
    start: Path | None = None
    data: Path = Path('datasets')
    masks: Path | None = None
    vgg: Path | None = None
    iterations: int | None = None
    time_factor: float | None = None
    batch: int | None = None
    published_gpus: int = 1
    processes: int = 1
    gpus: int = 0
    sigma: float | None = None

    def blocks(self) -> dict[str, dict[str, Any]]:
        """Return the arm's typed blocks by the names ``spf``, ``spd``, ``sgr``, ``dataset``; none for a stock run."""
        if not self.arm.has_priors:
            return {}
        blocks: dict[str, dict[str, Any]] = {'spf': {'type': 'SPF', **(self.arm.spf or {})}}
        if self.arm.spd is not None:
            blocks['spd'] = {'type': 'SPDLoss', 'loss_weight': 0.1, **self.arm.spd}
        if self.arm.sgr is not None:
            weights = {'weights': str(self.vgg)} if self.vgg else {}
            blocks['sgr'] = {'type': 'SGRLoss', 'loss_weight': 0.1, **weights, **self.arm.sgr}
        blocks['dataset'] = {'type': 'PairedImageMaskDataset', 'mask_store': str(self.masks), **self.arm.dataset}
        return blocks


@dataclass(frozen=True)
class Log:
    """What a training logged, by iteration.

    Attributes:
        curve: validation PSNR.
        losses: losses by the names ``l_NAME``, and ``psnr_restored`` and ``psnr_refined``.
    """

    curve: dict[int, float] = field(default_factory=dict)
    losses: dict[int, dict[str, float]] = field(default_factory=dict)


class FrameworkRun(ABC):
    """One training in a framework: its config, its commands, and the files that it leaves.

    Args:
        training: what the config is made of.
        folder: of the cell; the framework works in it.
    """

    framework: ClassVar[str]
    suffix: ClassVar[str]
    iterations_key: ClassVar[str]
    batch_key: ClassVar[str]

    def __init__(self, training: Training, folder: Path) -> None:
        self.training, self.folder = training, folder
        self.config = folder / f'train{self.suffix}'

    @cached_property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """The training config as nested dicts."""

    @property
    @abstractmethod
    def text(self) -> str:
        """The training config as a file."""

    @property
    @abstractmethod
    def stock(self) -> Mapping[str, Any]:
        """The stock config; not to be changed."""

    @property
    @abstractmethod
    def inputs(self) -> Path:
        """The folder of the degraded training images; where noise is added, of the clean ones."""

    @property
    @abstractmethod
    def targets(self) -> Path:
        """The folder of the clean training images."""

    @property
    @abstractmethod
    def checkpoint(self) -> Path:
        """The student after the last iteration; the file is there once the training is finished."""

    @property
    @abstractmethod
    def resumable(self) -> bool:
        """Whether a state was saved that the training can be resumed from."""

    @abstractmethod
    def train_command(self, launch: Launch, resume: bool) -> list[str]:
        """Return the command that trains, or resumes."""

    @abstractmethod
    def test_text(self, test_set: EvalSet, student: Path, save_images: bool) -> str:
        """Return the config of a test of ``student``, made from the training config, as a file."""

    @abstractmethod
    def test_command(self, config: Path, test_set: EvalSet, student: Path) -> list[str]:
        """Return the command that tests, with results below the folder."""

    @abstractmethod
    def read_metrics(self, test_set: EvalSet, output: str) -> dict[str, float]:
        """Read PSNR and SSIM of a finished test, whose printed text is ``output``."""

    @abstractmethod
    def save_student(self, state: Mapping[str, Any], path: Path) -> None:
        """Write a plain state dict as a checkpoint of the framework."""

    @classmethod
    @abstractmethod
    def read_log(cls, folder: Path, name: str) -> Log:
        """Read the logs of the training called ``name`` in a cell's folder; a resumed training has several."""

    def log(self) -> Log:
        """Read what this training has logged so far."""
        return self.read_log(self.folder, self.training.name)

    @property
    def published_iterations(self) -> int:
        """Iterations of the stock config."""
        return int(get_key(self.stock, self.iterations_key))

    @property
    def published_batch(self) -> int:
        """Images per process and step of the stock config."""
        return int(get_key(self.stock, self.batch_key))

    @property
    def iterations(self) -> int:
        """Iterations of this training."""
        return int(get_key(self.options, self.iterations_key))

    @property
    def batch(self) -> int:
        """Images per step in all processes."""
        return self.training.batch or self.published_batch * self.training.published_gpus

    @property
    def batch_per_process(self) -> int:
        """Images per process and step.

        Raises:
            SAPDError: the batch cannot be shared evenly.
        """
        if self.batch % self.training.processes:
            raise SAPDError(
                f'--gpus: {self.training.name} trains on batches of {self.batch}, which {self.training.processes} '
                'processes cannot share evenly.'
            )
        return self.batch // self.training.processes

    @property
    def asked_iterations(self) -> int | None:
        """Iterations that the schedule is stretched to; None: it stays."""
        asked = self.training.iterations
        if self.training.time_factor is None:
            return asked
        return round((asked or self.published_iterations) * self.training.time_factor)


def load_framework(name: str) -> type[FrameworkRun]:
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
