"""A table in Markdown, LaTeX and CSV. What was not measured is empty; what is quoted names its source."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence

from sapd_plugin.experiments.definitions import Table
from sapd_plugin.experiments.statistics import Estimate
from sapd_plugin.experiments.summary import METRICS, Row

DIGITS = {'psnr': 2, 'ssim': 4}
COST = ('parameters', 'macs', 'milliseconds', 'memory', 'over_stock')
PLACE = ('table', 'framework', 'model', 'size', 'arm', 'label', 'test', 'metric')
NUMBERS = ('mean', 'half_width_95', 'seeds', 'gain', 'gain_half_width_95', 'gain_seeds')
HOW = ('masks', 'iterations', 'as_published', 'protocol', 'quantise', 'sigma', 'images')


def markdown(table: Table, rows: Sequence[Row]) -> str:
    """The table with a head line that says how it was measured."""
    head, body = _head(table), [_line(table, row) for row in rows]
    lines = [head, ['---'] * len(head), *body]
    text = '\n'.join(f'| {" | ".join(line)} |' for line in lines)
    return f'## {table.title}\n\n{_caption(table, rows)}\n\n{text}\n'


def latex(table: Table, rows: Sequence[Row]) -> str:
    """A tabular environment with a caption; needs no package."""
    head = [_escape(text) for text in _head(table)]
    lines = [' & '.join(head) + r' \\', r'\hline']
    lines += [' & '.join(_escape(text) for text in _line(table, row)) + r' \\' for row in rows]
    body = '\n'.join(lines)
    columns = 'l' * 4 + 'r' * (len(head) - 4)
    return (
        f'\\begin{{table}}\n\\caption{{{_escape(table.title)}. {_escape(_caption(table, rows))}}}\n'
        f'\\begin{{tabular}}{{{columns}}}\n{body}\n\\end{{tabular}}\n\\end{{table}}\n'
    )


def csv_text(table: Table, rows: Sequence[Row]) -> str:
    """One line a row, test set and metric, at full precision."""
    file = io.StringIO()
    writer = csv.DictWriter(file, [*PLACE, *NUMBERS, *HOW, *COST], lineterminator='\n')
    writer.writeheader()
    for row in rows:
        for (test, metric), value in row.values.items():
            gain = row.gains.get((test, metric))
            writer.writerow(
                {
                    'table': table.name,
                    'framework': row.framework,
                    'model': row.model,
                    'size': row.size,
                    'arm': row.arm,
                    'label': row.label,
                    'test': test,
                    'metric': metric,
                    'mean': value.mean,
                    'half_width_95': value.half,
                    'seeds': value.count or None,
                    'gain': gain and gain.mean,
                    'gain_half_width_95': gain and gain.half,
                    'gain_seeds': gain and gain.count,
                    'masks': row.masks,
                    'iterations': row.iterations,
                    'as_published': row.as_published if row.iterations else None,
                    'protocol': table.protocol,
                    'quantise': table.quantise,
                    'sigma': table.sigma,
                    'images': ' or '.join(map(str, row.images.get(test, []))),
                    **{key: row.cost.get(key) for key in COST},
                }
            )
    return file.getvalue()


def _caption(table: Table, rows: Sequence[Row]) -> str:
    noise = f', Gaussian noise of sigma {table.sigma:g}' if table.sigma is not None else ''
    note = f' {table.note}' if table.note else ''
    counts = {test: sorted({n for row in rows for n in row.images.get(test, [])}) for test in table.tests}
    images = '; '.join(f'{test} {" or ".join(map(str, n))}' for test, n in counts.items() if n)
    images = f' Test images: {images}.' if images else ''
    return (
        f'PSNR (dB) and SSIM by protocol {table.protocol}, 8 bits by {table.quantise}{noise}; mean over seeds ± half '
        f'of the 95 % confidence interval; in brackets the gain over stock, paired by seed.{images}{note}'
    )


def _head(table: Table) -> list[str]:
    tests = [f'{test} {metric.upper()}' for test in table.tests for metric in METRICS]
    return ['model', 'arm', 'masks', 'iterations', *tests, 'parameters', 'GMACs', 'time (ms)', 'memory (MB)']


def _line(table: Table, row: Row) -> list[str]:
    name = row.model if row.size == 'full' else f'{row.model} {row.size}'
    iterations = '' if row.iterations is None else f'{row.iterations:,}{"" if row.as_published else " (shortened)"}'
    cells = []
    for test in table.tests:
        for metric in METRICS:
            value, gain = row.values.get((test, metric)), row.gains.get((test, metric))
            text = _number(value, DIGITS[metric])
            cells.append(f'{text} ({_number(gain, DIGITS[metric], signed=True)})' if gain else text)
    cost = [
        _cost(row, 'parameters', 1, '{:,.0f}'),
        _cost(row, 'macs', 1e-9, '{:.3g}'),
        _cost(row, 'milliseconds', 1, '{:.1f}') + _cost(row, 'over_stock', 1, ' ({:.2f} x stock)'),
        _cost(row, 'memory', 2**-20, '{:.0f}'),
    ]
    return [name, row.label, row.masks, iterations, *cells, *cost]


def _number(value: Estimate | None, digits: int, signed: bool = False) -> str:
    if value is None:
        return ''
    text = f'{value.mean:{"+" if signed else ""}.{digits}f}'
    return text if value.half is None else f'{text} ± {value.half:.{digits}f}'


def _cost(row: Row, key: str, factor: float, form: str) -> str:
    value = row.cost.get(key)
    return '' if value is None else form.format(value * factor)


def _escape(text: str) -> str:
    for mark in '&%_#':
        text = text.replace(mark, f'\\{mark}')
    return text.replace('±', r'$\pm$')
