"""Tables on the terminal: what is in them, and what has been measured."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sapd_plugin.experiments.catalogue import Catalogue
from sapd_plugin.experiments.definitions import FRAMEWORKS, Table
from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.summary import rows


def show(catalogue: Catalogue, tables: Iterable[Table], found: Sequence[Results]) -> None:
    """Print the tables.

    Args:
        catalogue: that they are of.
        tables: those to print.
        found: what was measured.
    """
    for table in tables:
        print(f'{table.name}: {table.title}')
        print(f'  task {table.task}, tests {", ".join(table.tests)}')
        noise = '' if table.sigma is None else f', noise of sigma {table.sigma:g}'
        print(f'  protocol {table.protocol}, 8 bits by {table.quantise}{noise}')
        print(
            f'  arms {", ".join(table.arms)}; sizes {", ".join(table.sizes)}; seeds {", ".join(map(str, table.seeds))}'
        )
        if table.note:
            print(f'  note: {table.note}')
        for model, entry in table.entries.items():
            configs = ', '.join(f'{side}: {path.parent.name}/{path.name}' for side, path in entry.configs.items())
            checkpoint = table.published(catalogue.models[model])
            published = f'; published checkpoint: {checkpoint}' if checkpoint else ''
            print(f'  {model}  {configs}{published}')
            for y in (y for y in table.yardsticks if y.model == model):
                ssim = '' if y.ssim is None else f' / {y.ssim}'
                print(f'    quoted {y.size} {y.test}: {y.psnr}{ssim} ({y.source}{"; " if y.note else ""}{y.note})')
            for line in _measured(catalogue, table, model, found):
                print(f'    {line}')
        print()


def _measured(catalogue: Catalogue, table: Table, model: str, found: Sequence[Results]) -> list[str]:
    lines = []
    for framework in FRAMEWORKS:
        for row in rows(catalogue, table, framework, found):
            if row.model != model or row.arm == 'quoted':
                continue
            for test in table.tests:
                value = row.values.get((test, 'psnr'))
                if value is not None:
                    half = '' if value.half is None else f' ± {value.half:.3f}'
                    place = f'{framework} {row.size} {row.arm} {test}'
                    images = ' or '.join(map(str, row.images[test]))
                    lines.append(f'measured {place}: {value.mean:.3f}{half}, seeds: {value.count}, images: {images}')
    return lines
