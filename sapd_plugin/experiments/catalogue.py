"""The tables of papers as data: ``configs/tables/*.yml``, read and checked.

``models.yml`` holds the networks with their sizes, ``arms.yml`` what is compared; each other file is a table.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from sapd_plugin.errors import SAPDError, check_choice, check_keys, nearest
from sapd_plugin.metrics.protocols import check_metric
from sapd_plugin.paths import configs

CONFIGS = configs()
FRAMEWORKS = ('basicsr', 'mmagic')
SIZES = ('full', 'small', 'tiny')
MASK_SOURCES = ('restored', 'target', 'input')
PRETRAINING = 'pretraining'
"""The arm whose student the others start from, where an entry says how it is trained."""
_NOT_TABLES = ('models.yml', 'arms.yml')


@dataclass(frozen=True)
class Arm:
    """What is added to a stock config.

    ``spf``, ``spd``, ``sgr`` and ``dataset`` are blocks, or None: left out. ``extra``: only in tables that name it.
    ``once``: trained with the first seed alone. ``longer``: trained for the wall time of SAPD, by the entry's
    ``time_factor``. ``masks`` says where the masks come from when it is not what the command line
    says: ``source``, ``segmenter``, or ``store``, a finished one below the data folder.
    """

    name: str
    label: str
    published: bool = False
    extra: bool = False
    once: bool = False
    longer: bool = False
    masks: Mapping[str, str] = field(default_factory=dict)
    spf: Mapping[str, Any] | None = None
    spd: Mapping[str, Any] | None = None
    sgr: Mapping[str, Any] | None = None
    dataset: Mapping[str, Any] = field(default_factory=dict)

    @property
    def has_priors(self) -> bool:
        """Whether SAPD takes part."""
        return self.spf is not None


@dataclass(frozen=True)
class Model:
    """A network: its paper and page, its types and sizes in each framework, its authors' checkpoints.

    ``type``: the names under which stock configs may build it; ``sizes``: what overrides its block in the full-size
    config; ``checkpoints``: by training set, a path below the folder of checkpoints.
    """

    name: str
    paper: str
    page: str
    type: Mapping[str, Sequence[str]]
    sizes: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    checkpoints: Mapping[str, str] = field(default_factory=dict)

    def overrides(self, size: str, framework: str) -> Mapping[str, Any]:
        """The overrides; none for the full size."""
        return {} if size == 'full' else self.sizes[size][framework]


@dataclass(frozen=True)
class Entry:
    """A model's place in a table: its stock config in each framework, and what goes with them.

    ``gpus``: on how many GPUs the configs' batch was published; ``published``: the authors' checkpoint where it is not
    the model's for the table's training set; ``set``: dotted config keys to change, for each framework;
    ``pretraining``: more of them, for the arm of that name, whose student all other trainings of the model start from;
    none: they start from scratch; ``arms``: those of the table that the model gets, None for all; ``time_factor``: how
    many stock iterations fit into the wall time of one with SAPD, for the arms that are trained longer.
    """

    configs: Mapping[str, str]
    gpus: int = 1
    published: str | None = None
    set: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pretraining: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    arms: tuple[str, ...] | None = None
    time_factor: float = 1.0


@dataclass(frozen=True)
class Yardstick:
    """A number of somebody else's, with its source."""

    model: str
    test: str
    psnr: float
    source: str
    ssim: float | None = None
    size: str = 'full'
    note: str = ''


@dataclass(frozen=True)
class Table:
    """A table of a paper.

    ``train``: the training set; ``tests``: name -> folder below the data folder; ``validation``: such a folder for the
    curves of the training, None for the first test set; ``sigma``: of the noise added to the images of tests;
    ``mask_images``: the images, below the data folder, that masks are cut on where the training makes its degraded
    images itself; ``mask_giver``: the model whose stock student restores the images that masks are cut on, None for
    each its own; ``group``: a name for several tables that are run and reported together; ``made_by``: the tool that
    makes its folders of images; ``resume``: whether an interrupted training goes on: not where seeds are paired and
    trainings are short, for BasicSR goes on with other patches than it would have seen.
    """

    name: str
    title: str
    task: str
    train: str
    tests: Mapping[str, str]
    protocol: str
    entries: Mapping[str, Entry]
    quantise: str = 'round'
    validation: str | None = None
    sigma: float | None = None
    mask_images: str | None = None
    mask_giver: str | None = None
    group: str | None = None
    made_by: str = 'tools/prepare_dataset.py'
    resume: bool = True
    arms: tuple[str, ...] = ()
    sizes: tuple[str, ...] = SIZES
    seeds: tuple[int, ...] = (0, 1, 2)
    yardsticks: tuple[Yardstick, ...] = ()
    note: str = ''

    def published(self, model: Model) -> str | None:
        """The authors' checkpoint of a model for this table."""
        return self.entries[model.name].published or model.checkpoints.get(self.train)


@dataclass(frozen=True)
class Catalogue:
    """All that ``configs/tables`` holds."""

    tables: Mapping[str, Table]
    models: Mapping[str, Model]
    arms: Mapping[str, Arm]

    def table(self, name: str) -> Table:
        """Find a table.

        Raises:
            SAPDError: there is none of that name.
        """
        check_choice('TABLE', name, self.tables)
        return self.tables[name]

    def select(self, name: str) -> list[Table]:
        """Find the tables of a group, or the one table of that name.

        Raises:
            SAPDError: there is neither.
        """
        found = [table for table in self.tables.values() if table.group == name]
        if not found:
            groups = dict.fromkeys(table.group for table in self.tables.values() if table.group)
            check_choice('TABLE', name, [*groups, *self.tables])
        return found or [self.tables[name]]

    def select_all(self, names: Sequence[str]) -> list[Table]:
        """Find the tables of several names, as :meth:`select` does."""
        return [table for name in names for table in self.select(name)]


def read_catalogue(folder: Path) -> Catalogue:
    """Read and check every file of a folder.

    Raises:
        SAPDError: naming the file and the key that is wrong.
    """
    arms = {
        name: _build(Arm, {'name': name, **block}, f'arms.yml {name}') for name, block in _read(folder / 'arms.yml')
    }
    for arm in arms.values():
        where = f'arms.yml {arm.name}'
        check_keys(f'{where}.masks', arm.masks, ('source', 'segmenter', 'store'))
        check_choice(f'{where}.masks.source', arm.masks.get('source', MASK_SOURCES[0]), MASK_SOURCES)
    models = {
        name: _build(Model, {'name': name, **block}, f'models.yml {name}')
        for name, block in _read(folder / 'models.yml')
    }
    for model in models.values():
        for size, frameworks in model.sizes.items():
            check_choice(f'models.yml {model.name}.sizes', size, SIZES[1:])
            check_keys(f'models.yml {model.name}.sizes.{size}', frameworks, FRAMEWORKS)
    paths = sorted(path for path in folder.glob('*.yml') if path.name not in _NOT_TABLES)
    tables = {path.stem: _table(path, models, arms) for path in paths}
    return Catalogue(tables, models, arms)


def _table(path: Path, models: Mapping[str, Model], arms: Mapping[str, Arm]) -> Table:
    block = dict(_read(path))
    entries = {}
    for name, found in block.pop('models', {}).items():
        _known(f'{path.name} models', name, models)
        entry = dict(found)
        entry['configs'] = {key: entry.pop(key) for key in FRAMEWORKS if key in entry}
        if 'arms' in entry:
            entry['arms'] = tuple(entry['arms'])
        entries[name] = _build(Entry, entry, f'{path.name} models.{name}')
        for framework, config in entries[name].configs.items():
            if not (CONFIGS / framework / config).is_file():
                raise SAPDError(f'{path.name} models.{name}.{framework}: no file {CONFIGS / framework / config}.')
        for key in ('set', 'pretraining'):
            check_keys(f'{path.name} models.{name}.{key}', getattr(entries[name], key), FRAMEWORKS)
    yardsticks = []
    for number, found in enumerate(block.pop('yardsticks', [])):
        where = f'{path.name} yardsticks[{number}]'
        yardsticks.append(_build(Yardstick, found, where))
        _known(f'{where}.model', yardsticks[-1].model, models)
        _known(f'{where}.test', yardsticks[-1].test, block.get('tests', {}))
    block['arms'] = tuple(block.get('arms', [name for name, arm in arms.items() if not arm.extra]))
    for arm in block['arms']:
        _known(f'{path.name} arms', arm, arms)
    for key in ('sizes', 'seeds'):
        if key in block:
            block[key] = tuple(block[key])
    for size in block.get('sizes', ()):
        check_choice(f'{path.name} sizes', size, SIZES)
    check_metric(path.name, block.get('protocol'), quantise=block.get('quantise', 'round'))
    for name, entry in entries.items():
        for arm in entry.arms or ():
            _known(f'{path.name} models.{name}.arms', arm, block['arms'])
    if block.get('mask_giver') is not None:
        _known(f'{path.name} mask_giver', block['mask_giver'], entries)
    block.update(name=path.stem, entries=entries, yardsticks=tuple(yardsticks))
    return _build(Table, block, path.name)


def _read(path: Path) -> Any:
    if not path.is_file():
        raise SAPDError(f'configs/tables: no file {path}.')
    try:
        found = yaml.safe_load(path.read_text(encoding='utf-8'))
    except yaml.YAMLError as error:
        raise SAPDError(f'{path}: not YAML: {error}') from error
    if not isinstance(found, Mapping):
        raise SAPDError(f'{path}: found {type(found).__name__}, expected a mapping.')
    return found.items()


def _build(kind: type, block: Mapping[str, Any], where: str) -> Any:
    check_keys(where, block, kind.__dataclass_fields__)
    try:
        return kind(**block)
    except TypeError as error:
        raise SAPDError(f'{where}: {error}.') from error


def _known(where: str, name: str, names: Iterable[str]) -> None:
    names = list(names)
    if name not in names:
        raise SAPDError(f"{where}: found '{name}', expected one of {', '.join(names)}.{nearest(name, names)}")
