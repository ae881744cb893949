"""A cell of a table: one model, of one size, in one arm, with one seed, and the patterns that select cells."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from sapd_plugin.errors import SAPDError, nearest
from sapd_plugin.experiments.catalogue import Catalogue, Table


@dataclass(frozen=True)
class Cell:
    """One run, written ``MODEL/SIZE/ARM/SEED``."""

    framework: str
    table: str
    model: str
    size: str
    arm: str
    seed: int

    def __str__(self) -> str:
        return f'{self.model}/{self.size}/{self.arm}/{self.seed}'

    def folder(self, root: Path) -> Path:
        """Where everything of the cell is kept."""
        return root / self.framework / self.table / self.model / self.size / self.arm / str(self.seed)


def all_cells(catalogue: Catalogue, table: Table, framework: str) -> Iterator[Cell]:
    """Yield the table's cells in the order in which they are run: stock comes before what is built on it.

    A published checkpoint is there once, at full size, where the table names one.
    """
    for model, entry in table.entries.items():
        if framework not in entry.configs:
            continue
        sizes = [
            size for size in table.sizes if size == 'full' or framework in catalogue.models[model].sizes.get(size, {})
        ]
        for size in sizes:
            for arm in table.arms if entry.arms is None else [arm for arm in table.arms if arm in entry.arms]:
                if catalogue.arms[arm].published:
                    if table.published(catalogue.models[model]) and size == 'full':
                        yield Cell(framework, table.name, model, size, arm, table.seeds[0])
                    continue
                for seed in table.seeds[:1] if catalogue.arms[arm].once else table.seeds:
                    yield Cell(framework, table.name, model, size, arm, seed)


def select_cells(cells: Sequence[Cell], patterns: Sequence[str], grouped: bool = False) -> list[Cell]:
    """Keep the cells that a pattern fits; each part of ``MODEL/SIZE/ARM/SEED`` may hold wildcards, or be left out.

    Args:
        cells: those there are.
        patterns: none keeps all.
        grouped: the cells are of several tables, and patterns begin with the table's name.

    Raises:
        SAPDError: a pattern that fits no cell.
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
