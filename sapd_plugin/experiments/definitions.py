"""Arms, models and tables as the YAML files define them, and the settings of the command line."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, cast

from msgspec import Meta, field

from sapd_plugin.structs import Record

FRAMEWORKS = ('basicsr', 'mmagic')
MASK_SOURCES = ('restored', 'target', 'input')
PRETRAINING = 'pretraining'  # the arm whose student the others start from, if an entry defines it
PerFramework = Mapping[Literal['basicsr', 'mmagic'], Mapping[str, Any]]


class Masks(Record, frozen=True):
    """The origin of an arm's masks; None leaves a choice to the command line.

    Attributes:
        source: the images that masks are extracted from.
        segmenter: name of the segmenter.
        store: path of a finished store below the data folder.
    """

    source: Literal['restored', 'target', 'input'] | None = None
    segmenter: str | None = None
    store: str | None = None


class Arm(Record, frozen=True):
    """A variant to compare: additions to a stock config.

    Attributes:
        name: name in cells.
        label: name in reports.
        published: whether the authors' weights are tested, without training.
        extra: whether only tables that name the arm include it.
        once: whether it is trained with the first seed only.
        longer: whether training is extended to SAPD's wall time, by the entry's ``time_factor``.
        masks: origin of its masks.
        teacher: the arm whose SPF, trained with the same seed, this one starts with; in BasicSR alone.
        spf, spd, sgr: blocks of the second network and the losses; None leaves one out.
        step: when and how the branch runs, keys of :class:`~sapd_plugin.core.settings.StepSettings`.
        dataset: keys for the block of the training dataset.
    """

    name: str
    label: str
    published: bool = False
    extra: bool = False
    once: bool = False
    longer: bool = False
    masks: Masks = Masks()
    teacher: str | None = None
    spf: Mapping[str, Any] | None = None
    spd: Mapping[str, Any] | None = None
    sgr: Mapping[str, Any] | None = None
    step: Mapping[str, Any] = {}
    dataset: Mapping[str, Any] = {}

    @property
    def has_priors(self) -> bool:
        """True if the arm uses SAPD."""
        return self.spf is not None


class Model(Record, frozen=True):
    """A network.

    Attributes:
        name: name in cells.
        paper, page: the paper and the authors' web page.
        types: for each framework, the names that stock configs may build it by (YAML key ``type``).
        sizes: for each size and framework, overrides of the network's block in the full-size config.
        checkpoints: the authors' checkpoints by training set, as paths below the folder of checkpoints.
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
        basicsr, mmagic: path of the stock config below ``configs/FRAMEWORK``; once read, the file's full path.
        gpus: number of GPUs that the configs' batch size was published for.
        published: the authors' checkpoint, if it differs from the model's for the table's training set.
        changes: for each framework, dotted config keys and their values (YAML key ``set``).
        pretraining: further changes, for the arm ``pretraining``. All other runs of the model start from its student;
            if empty, they start from scratch.
        arms: the table's arms that the model is run with; None means all.
        time_factor: number of stock iterations that take as long as one with SAPD, for arms that are trained longer.
    """

    basicsr: str | None = None
    mmagic: str | None = None
    gpus: Annotated[int, Meta(ge=1)] = 1
    published: str | None = None
    changes: PerFramework = field(name='set', default={})
    pretraining: PerFramework = field(default={})
    arms: tuple[str, ...] | None = None
    time_factor: Annotated[float, Meta(gt=0)] = 1.0

    @property
    def configs(self) -> dict[str, Path]:
        """The stock configs by framework, without the frameworks that have none."""
        return {name: Path(path) for name in FRAMEWORKS if (path := getattr(self, name)) is not None}


class Yardstick(Record, frozen=True):
    """A result that other authors published, with its source."""

    model: str
    test: str
    psnr: Annotated[float, Meta(ge=0)]
    source: str
    ssim: Annotated[float, Meta(ge=-1, le=1)] | None = None
    size: str = 'full'
    note: str = ''


class Table(Record, frozen=True):
    """A table of a paper.

    Attributes:
        name: name of its file without the suffix.
        title, note: texts for readers.
        task: denoise, derain, deblur, ...
        train: the training set.
        tests: test sets, each with its folder below the data folder.
        protocol, quantise: how the metrics are computed.
        entries: its models (YAML key ``models``).
        validation: folder of the images for training curves; None means the first test set.
        sigma: standard deviation of the noise that is added to test images, on the 0-255 scale; None means no noise.
        mask_images: folder, below the data folder, of the images that masks are extracted from, if training makes its
            degraded images itself.
        mask_provider: the model whose stock student restores the images that masks are extracted from; None means
            each model itself.
        group: name shared by tables that are run and reported together.
        made_by: command that makes its image folders.
        resume: whether interrupted training resumes. False for short training runs with paired seeds: a resumed BasicSR
            run sees different patches from an uninterrupted one.
        arms, sizes, seeds: what is run; by default, all arms that are not ``extra``.
        yardsticks: results that other authors published.
    """

    name: str
    title: str
    task: str
    train: str
    tests: Annotated[Mapping[str, str], Meta(min_length=1)]
    protocol: str
    entries: Annotated[Mapping[str, Entry], Meta(min_length=1)] = field(name='models')
    quantise: str = 'round'
    validation: str | None = None
    sigma: Annotated[int, Meta(ge=0)] | Annotated[float, Meta(ge=0)] | None = None
    mask_images: str | None = None
    mask_provider: str | None = None
    group: str | None = None
    made_by: str = 'sapd prepare-dataset'
    resume: bool = True
    arms: tuple[str, ...] = ()
    sizes: Annotated[tuple[Literal['full', 'small', 'tiny'], ...], Meta(min_length=1)] = ('full', 'small', 'tiny')
    seeds: Annotated[tuple[Annotated[int, Meta(ge=0, lt=2**32)], ...], Meta(min_length=1)] = (0, 1, 2)
    yardsticks: tuple[Yardstick, ...] = ()
    note: str = ''

    def published(self, model: Model) -> str | None:
        """Return the authors' checkpoint of a model for this table, or None."""
        return self.entries[model.name].published or model.checkpoints.get(self.train)


@dataclass(frozen=True)
class Launch:
    """How training is started: in one process, by torchrun on several GPUs, or by Slurm's srun with its arguments."""

    gpus: int = 1
    slurm: str | None = None

    def command(self, module: str, *arguments: str) -> list[str]:
        """Return the command that starts an adapter's training module, which accepts ``--launcher``."""
        if self.slurm is not None:
            srun = ['srun', *shlex.split(self.slurm), f'--ntasks={self.gpus}', '--kill-on-bad-exit=1']
            return [*srun, sys.executable, '-m', module, *arguments, '--launcher', 'slurm']
        if self.gpus > 1:
            torchrun = ['-m', 'torch.distributed.run', f'--nproc-per-node={self.gpus}']
            return [sys.executable, *torchrun, '-m', module, *arguments, '--launcher', 'pytorch']
        return [sys.executable, '-m', module, *arguments]


@dataclass(frozen=True)
class Settings:
    """Settings of the command line for all cells.

    Attributes:
        root: folder of the results.
        data: folder that replaces ``datasets/`` in the configs.
        checkpoints: folder of the authors' checkpoints.
        launch: how training is started; the processes share the batch.
        cuda: whether a GPU is available for training.
        iterations: length of training, which the schedule is scaled to; None means as published.
        batch: images per step over all processes; None means as published.
        tests: names of the test sets to use; empty means all of the table.
        masks: path of the mask store to use; None means that masks are extracted.
        mask_source: images that masks are extracted from: 'restored' (by the stock student), 'target' or 'input'.
        segmenter: arguments of ``sapd extract-masks`` that select the segmenter.
        vgg: path of the VGG-19 weights; None means that SGRLoss looks for them.
        save_images: whether to keep the restored images.
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
