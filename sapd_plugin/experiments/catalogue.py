"""Tables of papers as data: the shipped YAML files of ``configs/tables``, and a folder of the user's on top of them.

``models.yml`` holds the networks with their sizes, ``arms.yml`` what is compared; every other file is a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TypeVar

from msgspec.structs import replace

from sapd_plugin.errors import SAPDError, check_choice, nearest
from sapd_plugin.experiments.definitions import Arm, Entry, Model, Table
from sapd_plugin.metrics.protocols import check_metric
from sapd_plugin.paths import configs
from sapd_plugin.structs import convert, read_yaml

_NOT_TABLES = ('models.yml', 'arms.yml')
T = TypeVar('T', Arm, Model)


@dataclass(frozen=True)
class Cell:
    """One run: a model of one size, in one arm, with one seed. Its text is ``MODEL/SIZE/ARM/SEED``."""

    framework: str
    table: str
    model: str
    size: str
    arm: str
    seed: int

    def __str__(self) -> str:
        return f'{self.model}/{self.size}/{self.arm}/{self.seed}'

    @property
    def name(self) -> str:
        """The name of the experiment in its framework."""
        return f'{self.table}_{self.model}_{self.size}_{self.arm}_{self.seed}'

    def folder(self, root: Path) -> Path:
        """Return the folder of everything that belongs to the cell."""
        return root / self.framework / self.table / self.model / self.size / self.arm / str(self.seed)


@dataclass(frozen=True)
class Catalogue:
    """Tables, models and arms, each by its name."""

    tables: Mapping[str, Table]
    models: Mapping[str, Model]
    arms: Mapping[str, Arm]

    def of(self, cell: Cell) -> tuple[Table, Arm, Model]:
        """Return a cell's table, arm and model."""
        return self.tables[cell.table], self.arms[cell.arm], self.models[cell.model]

    def select(self, name: str) -> list[Table]:
        """Return the tables of a group, or the one table of that name.

        Raises:
            SAPDError: there is neither.
        """
        found = [table for table in self.tables.values() if table.group == name]
        if not found:
            groups = dict.fromkeys(table.group for table in self.tables.values() if table.group)
            check_choice('TABLE', name, [*groups, *self.tables])
        return found or [self.tables[name]]

    def cells(self, table: Table, framework: str) -> Iterator[Cell]:
        """Yield a table's cells in an order in which they can be run: stock comes before what is built on it.

        A published checkpoint is one cell, at full size, where the table names one.
        """
        for model, entry in table.entries.items():
            if framework not in entry.configs:
                continue
            has_checkpoint, sizes = table.published(self.models[model]) is not None, self.models[model].sizes
            for size in (size for size in table.sizes if size == 'full' or framework in sizes.get(size, {})):
                for arm in (self.arms[name] for name in table.arms if entry.arms is None or name in entry.arms):
                    if arm.published and not (has_checkpoint and size == 'full'):
                        continue
                    for seed in table.seeds[:1] if arm.once or arm.published else table.seeds:
                        yield Cell(framework, table.name, model, size, arm.name, seed)


def select_cells(cells: Sequence[Cell], patterns: Sequence[str], grouped: bool = False) -> list[Cell]:
    """Keep the cells that match a pattern; each part of ``MODEL/SIZE/ARM/SEED`` may hold wildcards, or be left out.

    No patterns keep all cells. ``grouped`` says that cells are of several tables, and patterns begin with the table.

    Raises:
        SAPDError: a pattern matches no cell.
    """
    if not patterns:
        return list(cells)
    names = {cell: f'{cell.table}/{cell}' if grouped else str(cell) for cell in cells}
    chosen: set[Cell] = set()
    for pattern in patterns:
        parts = pattern.split('/')
        found = [
            cell
            for cell, name in names.items()
            if len(parts) <= len(name.split('/')) and all(map(fnmatchcase, name.split('/'), parts))
        ]
        if not found:
            form = 'TABLE/MODEL/SIZE/ARM/SEED' if grouped else 'MODEL/SIZE/ARM/SEED'
            raise SAPDError(
                f"CELL: '{pattern}' fits none of {len(names)} cells, expected {form}, with wildcards "
                f'or left out, for instance {", ".join(list(names.values())[:1])}.{nearest(pattern, names.values())}'
            )
        chosen.update(found)
    return [cell for cell in cells if cell in chosen]


def read_catalogue(definitions: Path | None = None) -> Catalogue:
    """Read and check the shipped tables, and those of a folder on top of them.

    Args:
        definitions: a folder of the user's. Its ``models.yml`` and ``arms.yml``, where there are such, extend the
            shipped ones; every other ``*.yml`` is a table. A stock config of such a table is looked up in
            ``DEFINITIONS/configs/FRAMEWORK`` first, then among the shipped configs. An entry with a shipped name takes
            the place of the shipped one.

    Raises:
        SAPDError: naming the file and the key that is wrong.
    """
    catalogue = _overlay(Catalogue({}, {}, {}), configs() / 'tables', [configs()])
    if definitions is None:
        return catalogue
    if not definitions.is_dir():
        raise SAPDError(f'--definitions: found no folder {definitions}.')
    return _overlay(catalogue, definitions, [definitions / 'configs', configs()])


def _overlay(base: Catalogue, folder: Path, stock: Sequence[Path]) -> Catalogue:
    """Extend a catalogue by a folder of definitions, whose stock configs lie below the folders ``stock``."""
    models = {**base.models, **_read_blocks(folder / 'models.yml', Model)}
    arms = {**base.arms, **_read_blocks(folder / 'arms.yml', Arm)}
    paths = sorted(path for path in folder.glob('*.yml') if path.name not in _NOT_TABLES)
    tables = {path.stem: _read_table(path, models, arms, stock) for path in paths}
    return Catalogue({**base.tables, **tables}, models, arms)


def _read_blocks(path: Path, kind: type[T]) -> dict[str, T]:
    """Read the named blocks of ``models.yml`` or ``arms.yml``; a folder need not have such a file."""
    blocks = read_yaml(path) if path.is_file() else {}
    return {
        name: convert({'name': name, **block} if isinstance(block, dict) else block, kind, f'{path.name} {name}')
        for name, block in blocks.items()
    }


def _read_table(path: Path, models: Mapping[str, Model], arms: Mapping[str, Arm], stock: Sequence[Path]) -> Table:
    where, block = path.name, read_yaml(path)
    table = convert({'name': path.stem, **block}, Table, where)
    for name in table.entries:
        check_choice(f'{where} models', name, models)
    for arm in table.arms:
        check_choice(f'{where} arms', arm, arms)
    own_arms = table.arms or tuple(name for name, arm in arms.items() if not arm.extra)
    for name, entry in table.entries.items():
        for arm in entry.arms or ():
            check_choice(f'{where} models.{name}.arms', arm, own_arms)
    for number, yardstick in enumerate(table.yardsticks):
        check_choice(f'{where} yardsticks[{number}].model', yardstick.model, models)
        check_choice(f'{where} yardsticks[{number}].test', yardstick.test, table.tests)
    if table.mask_provider is not None:
        used = {framework for entry in table.entries.values() for framework in entry.configs}
        providers = [name for name, entry in table.entries.items() if entry.configs.keys() >= used]
        check_choice(f'{where} mask_provider', table.mask_provider, providers)
    check_metric(where, table.protocol, quantise=table.quantise)
    entries = {name: _find_configs(entry, f'{where} models.{name}', stock) for name, entry in table.entries.items()}
    return replace(table, arms=own_arms, entries=entries)


def _find_configs(entry: Entry, where: str, stock: Sequence[Path]) -> Entry:
    paths = {}
    for framework, config in entry.configs.items():
        places = [folder / framework / config for folder in stock]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise SAPDError(f'{where}.{framework}: no file {" or ".join(map(str, places))}.')
        paths[framework] = str(found)
    return replace(entry, **paths)
