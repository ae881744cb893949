"""Definitions of tables: the shipped YAML files in ``configs/tables``, extended by those in a user's folder.

``models.yml`` defines the networks and their sizes, ``arms.yml`` the arms to compare. Every other file is a table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from sapd_plugin.errors import SAPDError, check_choice, nearest
from sapd_plugin.experiments.definitions import Arm, Entry, Model, Table
from sapd_plugin.metrics.protocols import check_metric
from sapd_plugin.names import check_name
from sapd_plugin.paths import configs
from sapd_plugin.structs import convert, read_yaml

_NOT_TABLES = ('models.yml', 'arms.yml')
T = TypeVar('T', Arm, Model, Table)


@dataclass(frozen=True)
class Cell:
    """One run: a model of one size, in one arm, with one seed. As a string, it is ``MODEL/SIZE/ARM/SEED``."""

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
        """Return the folder that holds all files of the cell."""
        return root / self.framework / self.table / self.model / self.size / self.arm / str(self.seed)


@dataclass(frozen=True)
class Catalogue:
    """Tables, models and arms by name."""

    tables: Mapping[str, Table]
    models: Mapping[str, Model]
    arms: Mapping[str, Arm]

    def of(self, cell: Cell) -> tuple[Table, Arm, Model]:
        """Return a cell's table, arm and model."""
        return self.tables[cell.table], self.arms[cell.arm], self.models[cell.model]

    def select(self, name: str) -> list[Table]:
        """Return the tables of a group, or the table with this name.

        Raises:
            SAPDError: no group or table has this name.
        """
        found = [table for table in self.tables.values() if table.group == name]
        if not found:
            groups = dict.fromkeys(table.group for table in self.tables.values() if table.group)
            check_choice('TABLE', name, [*groups, *self.tables])
        return found or [self.tables[name]]

    def cells(self, table: Table, framework: str) -> Iterator[Cell]:
        """Yield a table's cells in an order in which they can be run: stock before the arms that build on it.

        A published checkpoint, if the table names one, is a single cell of full size.
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
    """Return the cells that match a pattern. Parts of ``MODEL/SIZE/ARM/SEED`` may hold wildcards or be omitted.

    Without patterns, all cells match. If ``grouped``, cells belong to several tables and patterns begin with the table.

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
                f"CELL: '{pattern}' matches none of {len(names)} cells, expected {form} with wildcards or "
                f'omitted parts, for instance {", ".join(list(names.values())[:1])}.{nearest(pattern, names.values())}'
            )
        chosen.update(found)
    return [cell for cell in cells if cell in chosen]


def read_catalogue(definitions: Path | None = None) -> Catalogue:
    """Read and check the shipped definitions, extended by those in a folder.

    Args:
        definitions: the user's folder. Its ``models.yml`` and ``arms.yml``, both optional, extend the shipped ones;
            every other ``*.yml`` is a table. The stock configs of these tables are looked up first in
            ``DEFINITIONS/configs/FRAMEWORK``, then among the shipped configs. A definition replaces a shipped one of
            the same name.

    Raises:
        SAPDError: naming the file and the invalid key.
    """
    catalogue = _overlay(Catalogue({}, {}, {}), configs() / 'tables', [configs()])
    if definitions is None:
        return catalogue
    if not definitions.is_dir():
        raise SAPDError(f'--definitions: found no folder {definitions}.')
    return _overlay(catalogue, definitions, [definitions / 'configs', configs()])


def _overlay(base: Catalogue, folder: Path, stock: Sequence[Path]) -> Catalogue:
    """Extend a catalogue with a folder of definitions, whose stock configs are looked up in the folders ``stock``."""
    models = {**base.models, **_read_blocks(folder / 'models.yml', Model)}
    arms = {**base.arms, **_read_blocks(folder / 'arms.yml', Arm)}
    _check_teachers(arms, folder / 'arms.yml')
    paths = sorted(path for path in folder.glob('*.yml') if path.name not in _NOT_TABLES)
    tables = {path.stem: _read_table(path, models, arms, stock) for path in paths}
    return Catalogue({**base.tables, **tables}, models, arms)


def _read_blocks(path: Path, kind: type[T]) -> dict[str, T]:
    """Read the named blocks of ``models.yml`` or ``arms.yml``; return no blocks if the file does not exist."""
    blocks = read_yaml(path) if path.is_file() else {}
    found = {}
    for name, block in blocks.items():
        check_name(path.name, name, portable=kind is not Model)
        one = found[name] = _convert_named(name, block, kind, f'{path.name} {name}')
        if isinstance(one, Arm) and one.masks.segmenter is not None:
            check_name(f'{path.name} {name}.masks.segmenter', one.masks.segmenter)  # part of the store's name
    return found


def _convert_named(name: str, block: Any, kind: type[T], where: str) -> T:
    """Convert a block that has its name from its key or its file."""
    if isinstance(block, dict):
        if block.get('name', name) != name:
            raise SAPDError(f'{where}.name: found {block["name"]!r}, expected {name!r} or no such key.')
        block = {'name': name, **block}
    return convert(block, kind, where)


def _check_teachers(arms: Mapping[str, Arm], where: Path) -> None:
    """Refuse teachers that are not trained by themselves. Raises SAPDError."""
    for name, arm in arms.items():
        if arm.teacher is not None:
            valid = [other.name for other in arms.values() if other.has_priors and other.teacher is None]
            check_choice(f'{where} {name}.teacher', arm.teacher, valid)
            if not arm.has_priors:
                raise SAPDError(f'{where} {name}.teacher: found {arm.teacher} and no spf, which is what it trained.')


def _read_table(path: Path, models: Mapping[str, Model], arms: Mapping[str, Arm], stock: Sequence[Path]) -> Table:
    where, block = path.name, read_yaml(path)
    check_name(f'{path}, the name of the table', path.stem)
    table = _convert_named(path.stem, block, Table, where)
    for name in table.tests:
        check_name(f'{where} tests', name)
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
