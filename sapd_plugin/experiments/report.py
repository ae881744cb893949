"""Reports of a table on the terminal and as Markdown, LaTeX and CSV: measured numbers, and quoted ones with sources."""

from __future__ import annotations

import importlib.util
import math
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sapd_plugin.evaluation.statistics import half_width
from sapd_plugin.experiments.catalogue import Catalogue, Cell
from sapd_plugin.experiments.definitions import FRAMEWORKS, Table
from sapd_plugin.experiments.plan import load_framework
from sapd_plugin.experiments.results import PROTOCOL, Results

DIGITS = {'psnr': 2, 'ssim': 4}
BOUNDS = {'psnr': (0.0, math.inf), 'ssim': (-1.0, 1.0)}  # the least and the largest possible value
PLACE = ['model', 'size', 'arm']
NUMBERS = ['mean', 'half_width_95', 'seeds', 'gain', 'gain_half_width_95', 'gain_seeds']
COST = ['parameters', 'macs', 'milliseconds', 'memory', 'over_stock']
HOW = ['masks', 'iterations', 'as_published', *PROTOCOL, 'images']
COLUMNS = ['table', 'framework', *PLACE, 'label', 'test', 'metric', *NUMBERS, *HOW, *COST]
# How values get to 8 bits, by `Table.quantise`.
EIGHT_BITS = {'round': 'rounded to 8 bits', 'floor': 'truncated to 8 bits', 'none': 'not rounded'}
_INTEGERS = ['seeds', 'gain_seeds', 'iterations', 'parameters', 'macs', 'memory']


def summarise(catalogue: Catalogue, table: Table, framework: str, results: Iterable[Results]) -> pd.DataFrame:
    """Summarise the results of a table over seeds.

    Only results with the table's protocol count. Runs of different lengths are not combined.

    Returns:
        One row per arm, length of training, test set and metric, yardsticks (arm 'quoted') first. An arm without
        results has one row, whose ``test`` is missing. Gains are over stock of the same length, paired by seed.
    """
    cells = list(catalogue.cells(table, framework))
    arms = pd.DataFrame(list(dict.fromkeys((c.model, c.size, c.arm) for c in cells)), columns=PLACE, dtype='object')
    arms['label'] = [catalogue.arms[arm].label for arm in arms['arm']]
    measured = arms.merge(_means(_values(table, framework, results)), how='left', on=PLACE)
    quoted = pd.DataFrame(
        {
            'model': yardstick.model,
            'size': yardstick.size,
            'arm': 'quoted',
            'label': f'quoted: {"; ".join(filter(None, (yardstick.source, yardstick.note)))}',
            'test': yardstick.test,
            'metric': metric,
            'mean': value,
        }
        for yardstick in table.yardsticks
        for metric in DIGITS
        if (value := getattr(yardstick, metric)) is not None
    )
    places = list(dict.fromkeys((cell.model, cell.size) for cell in cells))
    frame = pd.concat([part.astype('object') for part in (quoted, measured)]).set_index(PLACE[:2], drop=False)
    frame = pd.concat([frame.loc[[place]] for place in places] or [frame.iloc[:0]], ignore_index=True)
    constants = {'table': table.name, 'framework': framework}
    constants |= {key: getattr(table, key) for key in PROTOCOL}
    frame = frame.assign(**constants).reindex(columns=COLUMNS)
    return frame.astype(dict.fromkeys(_INTEGERS, 'Int64'))


def _values(table: Table, framework: str, results: Iterable[Results]) -> pd.DataFrame:
    """Return one row per cell, test set and metric."""
    rows = [
        {
            **{key: getattr(r.cell, key) for key in (*PLACE, 'seed')},
            'test': test,
            'metric': metric,
            'value': r.tests[test][metric],
            'iterations': r.training.get('iterations') or 0,
            'as_published': r.training.get('as_published', True),
            'masks': r.training.get('masks') or '',
            'images': r.tests[test]['images'],
            **{key: r.cost.get(key) for key in COST},
        }
        for r in results
        if (r.cell.table, r.cell.framework) == (table.name, framework)
        for test in table.tests
        if r.holds(test, table)
        for metric in DIGITS
    ]
    columns = [*PLACE, 'seed', 'test', 'metric', 'value', 'iterations', 'as_published', 'masks', 'images', *COST]
    return pd.DataFrame(rows, columns=columns).sort_values('iterations', kind='stable')


def _means(values: pd.DataFrame) -> pd.DataFrame:
    """Return means over seeds with their 95 % intervals, and gains paired by seed."""
    pairs = ['model', 'size', 'seed', 'iterations', 'test', 'metric']
    stock = values.loc[values['arm'] == 'stock', [*pairs, 'value']]
    values = values.merge(stock, how='left', on=pairs, suffixes=('', '_stock'))
    gain = (values['value'] - values['value_stock']).where(~values['arm'].isin(['stock', 'published']))
    rows = values.assign(gain=gain).groupby([*PLACE, 'iterations', 'test', 'metric'], sort=False)
    means = rows.agg(
        mean=('value', 'mean'),
        half_width_95=('value', half_width),
        seeds=('value', 'count'),
        gain=('gain', 'mean'),
        gain_half_width_95=('gain', lambda gains: half_width(gains.dropna())),
        gain_seeds=('gain', 'count'),
        as_published=('as_published', 'all'),
        masks=('masks', lambda masks: ', '.join(sorted(set(masks)))),
        images=('images', lambda images: ' or '.join(map(str, sorted(set(images))))),
        **{key: (key, 'first') for key in COST},
    ).reset_index()
    trained = means['iterations'] > 0
    return means.assign(
        iterations=means['iterations'].where(trained), as_published=means['as_published'].where(trained)
    )


def text_frame(table: Table, frame: pd.DataFrame) -> pd.DataFrame:
    """Return a summary as text for readers, one row per arm and length of training."""
    rows = []
    for place, part in frame.groupby([*PLACE, 'label', 'iterations'], sort=False, dropna=False):
        model, size, _, label, iterations = place
        first = part.iloc[0]
        # An arm's time was measured side by side with stock's. Between cells, only these ratios can be compared.
        time = _number(first['over_stock'], '.2f', '{} x stock') or _number(first['milliseconds'], '.1f', '{} ms')
        shortened = '' if pd.isna(iterations) or first['as_published'] else ' (shortened)'
        numbers = {(row.test, row.metric): _value(row) for row in part.itertuples()}
        rows.append(
            {
                'model': model if size == 'full' else f'{model} {size}',
                'arm': label,
                'masks': '' if pd.isna(first['masks']) else first['masks'],
                'iterations': '' if pd.isna(iterations) else f'{iterations:,}{shortened}',
                **{
                    f'{test} {metric.upper()}': numbers.get((test, metric), '')
                    for test in table.tests
                    for metric in DIGITS
                },
                'parameters': _number(first['parameters'], ',d'),
                'GMACs': _number(first['macs'] * 1e-9, '.3g'),
                'time': time,
                'memory (MB)': _number(first['memory'] * 2**-20, '.0f'),
            }
        )
    return pd.DataFrame(rows)


def markdown(table: Table, frame: pd.DataFrame) -> str:
    """Return the table as Markdown, with a line that says how it was measured."""
    text = text_frame(table, frame).to_markdown(index=False, disable_numparse=True)
    return f'## {table.title}\n\n{_caption(table, frame)}\n\n{text}\n'


def latex(table: Table, frame: pd.DataFrame) -> str:
    """Return the table as a LaTeX table environment with a caption; it needs the package booktabs."""
    text = text_frame(table, frame)
    caption = re.sub('([&%_#])', r'\\\1', f'{table.title}. {_caption(table, frame)}')
    columns = 'l' * 4 + 'r' * (len(text.columns) - 4)
    text = text.to_latex(index=False, escape=True, caption=caption, column_format=columns)
    return text.replace('±', r'$\pm$')


def csv_text(frame: pd.DataFrame) -> str:
    """Return the rows of a summary that have a test set as CSV, at full precision."""
    return frame.dropna(subset='test').to_csv(index=False, lineterminator='\n')


def _caption(table: Table, frame: pd.DataFrame) -> str:
    noise = f', Gaussian noise of sigma {table.sigma:g}' if table.sigma is not None else ''
    note = f' {table.note}' if table.note else ''
    counts = frame.dropna(subset='images').groupby('test', sort=False)['images'].unique()
    images = '; '.join(f'{test} {" or ".join(counts[test])}' for test in table.tests if test in counts)
    images = f' Test images: {images}.' if images else ''
    return (
        f'PSNR (dB) and SSIM by protocol {table.protocol}, {EIGHT_BITS[table.quantise]}{noise}; mean over seeds ± '
        'half of the 95 % confidence interval (or its two ends, if one of them is the end of what is possible); in '
        f'brackets the gain over stock, paired by seed.{images}{note}'
    )


def _value(row: Any) -> str:
    low, high = BOUNDS.get(row.metric, (-math.inf, math.inf))
    digits = DIGITS.get(row.metric, 0)
    text = _interval(row.mean, row.half_width_95, f'.{digits}f', low, high)
    if pd.isna(row.gain):
        return text
    return f'{text} ({_interval(row.gain, row.gain_half_width_95, f"+.{digits}f", low - high, high - low)})'


def _interval(mean: Any, half: Any, form: str, low: float, high: float) -> str:
    """Return ``mean ± half``; if a bound of the measure is nearer than half, the interval that ends there."""
    if pd.isna(mean) or pd.isna(half) or (mean - half >= low and mean + half <= high):
        return _number(mean, form) + _number(half, form.lstrip('+'), ' ± {}')
    return f'{mean:{form}} [{max(mean - half, low):{form}}, {min(mean + half, high):{form}}]'


def _number(value: Any, form: str, frame: str = '{}') -> str:
    return '' if pd.isna(value) else frame.format(format(value, form))


def print_tables(catalogue: Catalogue, tables: Iterable[Table], results: Sequence[Results]) -> None:
    """Print the definitions of tables and their results so far."""
    for table in tables:
        noise = '' if table.sigma is None else f', noise of sigma {table.sigma:g}'
        print(f'{table.name}: {table.title}')
        print(f'  task {table.task}, tests {", ".join(table.tests)}')
        print(f'  protocol {table.protocol}, {EIGHT_BITS[table.quantise]}{noise}')
        seeds = ', '.join(map(str, table.seeds))
        print(f'  arms {", ".join(table.arms)}; sizes {", ".join(table.sizes)}; seeds {seeds}')
        if table.note:
            print(f'  note: {table.note}')
        measured = pd.concat([summarise(catalogue, table, framework, results) for framework in FRAMEWORKS])
        measured = measured[(measured['arm'] != 'quoted') & (measured['metric'] == 'psnr')]
        for model, entry in table.entries.items():
            configs = ', '.join(f'{side}: {path.parent.name}/{path.name}' for side, path in entry.configs.items())
            checkpoint = table.published(catalogue.models[model])
            print(f'  {model}  {configs}{f"; published checkpoint: {checkpoint}" if checkpoint else ""}')
            for y in (y for y in table.yardsticks if y.model == model):
                ssim = '' if y.ssim is None else f' / {y.ssim}'
                print(f'    quoted {y.size} {y.test}: {y.psnr}{ssim} ({y.source}{"; " if y.note else ""}{y.note})')
            for row in measured[measured['model'] == model].itertuples():
                place = f'{row.framework} {row.size} {row.arm} {row.test}'
                mean = _interval(row.mean, row.half_width_95, '.3f', *BOUNDS['psnr'])
                print(f'    measured {place}: {mean}, seeds: {row.seeds}, images: {row.images}')
        print()


def _known(catalogue: Catalogue, table: Table, framework: str, results: Iterable[Results]) -> list[Cell]:
    """Return the measured cells of a table in the order of its arms; name those that the definitions do not have."""
    places = {(cell.model, cell.size, cell.arm) for cell in catalogue.cells(table, framework)}
    known = []
    for cell in (result.cell for result in results):
        if (cell.table, cell.framework) == (table.name, framework):
            if (cell.model, cell.size, cell.arm) in places:
                known.append(cell)
            else:
                print(
                    f'{table.name}/{cell}: measured, but not in the definitions, so not in the report', file=sys.stderr
                )
    return sorted(known, key=lambda cell: (list(catalogue.arms).index(cell.arm), cell.seed))


def write_reports(catalogue: Catalogue, tables: Iterable[Table], results: Sequence[Results], root: Path) -> None:
    """Write Markdown, LaTeX, CSV and pictures of tables below ``root/reports``, and print their paths."""
    drawn = importlib.util.find_spec('matplotlib') is not None
    if not drawn:
        print('no pictures: matplotlib is not installed', file=sys.stderr)
    for table in tables:
        for framework in FRAMEWORKS:
            if not any(framework in entry.configs for entry in table.entries.values()):
                continue
            frame = summarise(catalogue, table, framework, results)
            base = root / 'reports' / f'{table.name}_{framework}'
            base.parent.mkdir(parents=True, exist_ok=True)
            texts = {'.md': markdown(table, frame), '.tex': latex(table, frame), '.csv': csv_text(frame)}
            for suffix, text in texts.items():
                base.with_suffix(suffix).write_text(text, encoding='utf-8')
                print(base.with_suffix(suffix))
            cells = _known(catalogue, table, framework, results)
            if drawn:
                from sapd_plugin.experiments.pictures import draw_cost, draw_curves

                paths = [draw_cost(base.with_name(f'{base.name}_cost.png'), table, frame)]
                if cells:
                    paths += draw_curves(base, catalogue, load_framework(framework), cells, root)
                print(*filter(None, paths), sep='\n')
