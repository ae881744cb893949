"""What is asked for: arms, models and tables as their YAML files define them, and the options of the command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from msgspec import field

from sapd_plugin.structs import Record

FRAMEWORKS = ('basicsr', 'mmagic')
MASK_SOURCES = ('restored', 'target', 'input')
PRETRAINING = 'pretraining'  # the arm whose student the others start from, where an entry says how it is trained
PerFramework = Mapping[Literal['basicsr', 'mmagic'], Any]


class Masks(Record, frozen=True):
    """Where an arm's masks come from; what is None is said by the command line.

    Attributes:
        source: the images that masks are extracted from.
        segmenter: its name.
        store: a finished store, below the data folder.
    """

    source: Literal['restored', 'target', 'input'] | None = None
    segmenter: str | None = None
    store: str | None = None


class Arm(Record, frozen=True):
    """What is added to a stock config.

    Attributes:
        name: in cells.
        label: in reports.
        published: whether the authors' weights are tested, and nothing is trained.
        extra: whether only tables that name the arm have it.
        once: whether it is trained with the first seed alone.
        longer: whether it is trained for the wall time of SAPD, by the entry's ``time_factor``.
        masks: where its masks come from.
        spf, spd, sgr: blocks of the losses and the second network; None: without it.
        dataset: keys of the training dataset.
    """

    name: str
    label: str
    published: bool = False
    extra: bool = False
    once: bool = False
    longer: bool = False
    masks: Masks = Masks()
    spf: Mapping[str, Any] | None = None
    spd: Mapping[str, Any] | None = None
    sgr: Mapping[str, Any] | None = None
    dataset: Mapping[str, Any] = {}

    @property
    def has_priors(self) -> bool:
        """Whether SAPD takes part."""
        return self.spf is not None


class Model(Record, frozen=True):
    """A network.

    Attributes:
        name: in cells.
        paper, page: where it was published.
        types: for each framework the names under which stock configs may build it (YAML key ``type``).
        sizes: for each size and framework what overrides the network's block of the full-size config.
        checkpoints: the authors', by training set: a path below the folder of checkpoints.
    """

    name: str
    paper: str
    page: str
    types: Mapping[Literal['basicsr', 'mmagic'], Sequence[str]] = field(name='type')
    sizes: Mapping[Literal['small', 'tiny'], PerFramework] = {}
    checkpoints: Mapping[str, str] = {}

    def overrides(self, size: str, framework: str) -> Mapping[str, Any]:
        """Return the overrides of a size; the full size has none."""
        return {} if size == 'full' else cast('Mapping[str, Any]', self.sizes)[size][framework]


class Entry(Record, frozen=True):
    """A model's place in a table.

    Attributes:
        basicsr, mmagic: its stock config below ``configs/FRAMEWORK``; once read, the path of the file.
        gpus: number of GPUs that the configs' batch was published for.
        published: the authors' checkpoint where it is not the model's for the table's training set.
        changes: for each framework dotted config keys and their values (YAML key ``set``).
        pretraining: more of them, for the arm of that name, whose student all other trainings of the model start from;
            empty: they start from scratch.
        arms: those of the table that the model gets; None: all.
        time_factor: number of stock iterations that take as long as one with SAPD, for arms that are trained longer.
    """

    basicsr: str | None = None
    mmagic: str | None = None
    gpus: int = 1
    published: str | None = None
    changes: PerFramework = field(name='set', default={})
    pretraining: PerFramework = field(default={})
    arms: tuple[str, ...] | None = None
    time_factor: float = 1.0

    @property
    def configs(self) -> dict[str, Path]:
        """The stock configs by framework, without the frameworks that have none."""
        return {name: Path(path) for name in FRAMEWORKS if (path := getattr(self, name)) is not None}


class Yardstick(Record, frozen=True):
    """A number that somebody else published, with its source."""

    model: str
    test: str
    psnr: float
    source: str
    ssim: float | None = None
    size: str = 'full'
    note: str = ''


class Table(Record, frozen=True):
    """A table of a paper.

    Attributes:
        name: of its file.
        title, note: for readers.
        task: denoise, derain, deblur, ...
        train: the training set.
        tests: test sets, each with its folder below the data folder.
        protocol, quantise: of the metrics.
        entries: its models (YAML key ``models``).
        validation: folder that training curves are measured on; None: the first test set.
        sigma: of the noise that is added to the images of test sets.
        mask_images: folder below the data folder that masks are extracted from where the training makes its degraded
            images itself.
        mask_provider: the model whose stock student restores the images that masks are extracted from; None: each
            model its own.
        group: name of several tables that are run and reported together.
        made_by: the command that makes its folders of images.
        resume: whether an interrupted training is resumed. Not where seeds are paired and trainings are short: a
            resumed BasicSR training sees other patches than one that was not interrupted.
        arms, sizes, seeds: what is run; arms by default all that are not ``extra``.
        yardsticks: numbers of others.
    """

    name: str
    title: str
    task: str
    train: str
    tests: Mapping[str, str]
    protocol: str
    entries: Mapping[str, Entry] = field(name='models')
    quantise: str = 'round'
    validation: str | None = None
    sigma: int | float | None = None
    mask_images: str | None = None
    mask_provider: str | None = None
    group: str | None = None
    made_by: str = 'sapd prepare-dataset'
    resume: bool = True
    arms: tuple[str, ...] = ()
    sizes: tuple[Literal['full', 'small', 'tiny'], ...] = ('full', 'small', 'tiny')
    seeds: tuple[int, ...] = (0, 1, 2)
    yardsticks: tuple[Yardstick, ...] = ()
    note: str = ''

    def published(self, model: Model) -> str | None:
        """Return the authors' checkpoint of a model for this table, if there is one."""
        return self.entries[model.name].published or model.checkpoints.get(self.train)


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
class Settings:
    """What the command line says about all cells.

    Attributes:
        root: folder of results.
        data: the folder that ``datasets/`` stands for.
        checkpoints: folder of the authors' checkpoints.
        launch: how training is started; its processes share the batch.
        cuda: whether there is a GPU to train on.
        iterations: of a shorter or longer training, whose schedule is stretched; None: as published.
        batch: images per step in all processes; None: as published.
        tests: test sets to restrict tests to; empty: all of the table.
        masks: a mask store to use; None: masks are extracted.
        mask_source: the images that masks are extracted from: 'restored' by the stock student, 'target', 'input'.
        segmenter: arguments of ``sapd extract-masks`` that name the segmenter.
        vgg: VGG-19's weights; None: SGRLoss looks for them.
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
