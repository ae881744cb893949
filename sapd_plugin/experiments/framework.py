"""What a cell's training and tests are made of, whatever the framework."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sapd_plugin.errors import SAPDError, nearest
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.definitions import Arm, Table

DATA = 'datasets/'
"""What paths of data begin with in the configs."""


@dataclass(frozen=True)
class Launch:
    """How training is started: alone, on several GPUs by torchrun, or by Slurm's srun with the given arguments."""

    gpus: int = 1
    slurm: str | None = None

    def command(self, module: str, *arguments: str) -> list[str]:
        """The command that starts a training module of an adapter, which knows ``--launcher``."""
        if self.slurm is not None:
            srun = ['srun', *shlex.split(self.slurm), f'--ntasks={self.gpus}', '--kill-on-bad-exit=1']
            return [*srun, sys.executable, '-m', module, *arguments, '--launcher', 'slurm']
        if self.gpus > 1:
            torchrun = ['-m', 'torch.distributed.run', f'--nproc-per-node={self.gpus}']
            return [sys.executable, *torchrun, '-m', module, *arguments, '--launcher', 'pytorch']
        return [sys.executable, '-m', module, *arguments]


@dataclass(frozen=True)
class EvalSet:
    """A test set of a table: its folder holds ``input`` (none where noise is added) and ``target``."""

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
        validation: what the curve is measured on; no choice is made by it, for the last iteration is tested.
        network: overrides of the network's block.
        changes: dotted config keys of the stock config, and their values.
        start: checkpoint of the student that the training starts from; None: from scratch.
        data: the folder that ``datasets/`` stands for.
        masks: the mask store, where the arm has priors.
        vgg: VGG-19's weights for SGR; None: SGRLoss looks for them.
        iterations: a shorter or longer training, its schedule stretched with it; None: as published.
        batch: images a process and step; None: as the stock config has it.
        gpus: processes; 0: on the CPU.
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
    batch: int | None = None
    gpus: int = 0
    sigma: float | None = None

    def blocks(self) -> dict[str, dict[str, Any]]:
        """The arm's blocks, typed, by the names ``spf``, ``spd``, ``sgr`` and ``dataset``; none for a stock run."""
        if not self.arm.has_priors:
            return {}
        found: dict[str, dict[str, Any]] = {'spf': {'type': 'SPF', **(self.arm.spf or {})}}
        if self.arm.spd is not None:
            found['spd'] = {'type': 'SPDLoss', 'loss_weight': 0.1, **self.arm.spd}
        if self.arm.sgr is not None:
            weights = {'weights': str(self.vgg)} if self.vgg else {}
            found['sgr'] = {'type': 'SGRLoss', 'loss_weight': 0.1, **weights, **self.arm.sgr}
        found['dataset'] = {'type': 'PairedImageMaskDataset', 'mask_store': str(self.masks), **self.arm.dataset}
        return found


@dataclass(frozen=True)
class Evaluation:
    """The test of a student on one set."""

    test_set: EvalSet
    checkpoint: Path
    save_images: bool = False


class Framework(Protocol):
    """What the tool asks of a framework; one class in ``basicsr_runs`` and in ``mmagic_runs``."""

    name: str
    suffix: str

    def training(self, training: Training) -> str:
        """The text of the training config."""

    def train_command(self, config: Path, folder: Path, launch: Launch, resume: bool) -> list[str]:
        """Train below ``folder``, or go on."""

    def begun(self, config: Path, folder: Path) -> bool:
        """Tell whether there is something to go on with."""

    def trained(self, config: Path, folder: Path) -> Path | None:
        """The final checkpoint, once training is through."""

    def iteration(self, line: str) -> int | None:
        """The iteration that a line of the training's output tells of."""

    def iterations(self, config: Path) -> int:
        """How many iterations a training config asks for."""

    def batch(self, stock: Path) -> int:
        """Images a process and step."""

    def training_inputs(self, config: Path) -> Path:
        """The folder of the degraded training images."""

    def training_targets(self, config: Path) -> Path:
        """The folder of the clean ones."""

    def testing(self, config: Path, testing: Evaluation) -> str:
        """The text of a test config, made from the training config."""

    def test_command(self, config: Path, folder: Path, testing: Evaluation) -> list[str]:
        """Test, results below ``folder``."""

    def metrics(self, folder: Path, output: str) -> dict[str, float]:
        """PSNR and SSIM of a finished test."""

    def save_student(self, state: Mapping[str, Any], path: Path) -> None:
        """Write a plain state dict as a checkpoint of the framework's own."""

    def curve(self, config: Path, folder: Path) -> list[tuple[int, float]]:
        """(iteration, validation PSNR) of the training so far."""

    def logged(self, config: Path, folder: Path) -> dict[int, dict[str, float]]:
        """Losses, ``l_NAME``, and ``psnr_restored`` and ``psnr_refined`` that the training logged, by iteration."""


def set_keys(config: Any, changes: Mapping[str, Any], where: str) -> None:
    """Set dotted keys of a nested config that are there.

    Raises:
        SAPDError: a key that the config does not have.
    """
    for path, value in changes.items():
        node, keys = config, path.split('.')
        for i, key in enumerate(keys):
            step: Any = int(key) if isinstance(node, (list, tuple)) and key.isdigit() else key
            try:
                node[step]
            except (KeyError, IndexError, TypeError) as error:
                names = list(node) if isinstance(node, Mapping) else []
                raise SAPDError(f"{where}: has no key '{'.'.join(keys[: i + 1])}'.{nearest(key, names)}") from error
            if i + 1 < len(keys):
                node = node[step]
            else:
                node[step] = value


def move_data(config: Any, data: Path) -> Any:
    """Return a config in which every path that begins with ``datasets/`` leads into ``data``."""
    if isinstance(config, Mapping):
        return {key: move_data(value, data) for key, value in config.items()}
    if isinstance(config, (list, tuple)):
        return type(config)(move_data(value, data) for value in config)
    if isinstance(config, str) and config.removeprefix('./').startswith(DATA):
        return str(data / config.removeprefix('./')[len(DATA) :])
    return config


def stretched(value: int | float, factor: float) -> int:
    """An iteration of a schedule that became shorter or longer by a factor; at least 1."""
    return max(1, round(value * factor))


def interval(published: float, iterations: int, factor: float) -> int:
    """How often a stretched training validates, saves or prints: in proportion, ten times at most in a short one."""
    return min(max(stretched(published, factor), iterations // 10, 1), iterations)


def batch_per_process(total: int, gpus: int, cell: Cell) -> int:
    """Share a published batch among the processes.

    Raises:
        SAPDError: it does not divide.
    """
    if total % max(gpus, 1):
        raise SAPDError(f'--gpus: {cell} trains on batches of {total}, which {gpus} processes cannot share evenly.')
    return total // max(gpus, 1)
