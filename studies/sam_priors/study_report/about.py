"""What numbers hold for: settings, commits, packages; and what students cost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from sapd_plugin.experiments.results import PROTOCOL, Results
from studies.sam_priors.study_report.markdown import table_of
from studies.sam_priors.study_report.measured import UNMEASURED

COMMAND = 'python tools/study.py report'
_PACKAGES = ('torch', 'basicsr', 'mmagic', 'mmengine', 'mmcv')


def footnote(found: Sequence[Results]) -> str:
    """Protocol, images, length, commits and command, in a sentence or two."""
    tests: dict[str, None] = {}
    for results in found:
        for name, test in sorted(results.tests.items()):
            tests[f'{name} {test.get("images")} images, {protocol(test)}'] = None
    trained = ' or '.join(f'{n:,}' for n in sorted({r.training.get('iterations') or 0 for r in found}) if n)
    length = f' Trained for {trained} iterations.' if trained else ''
    return f'Tests: {"; ".join(tests)}.{length} Measured at commit {commits(found)}, written by `{COMMAND}`.'


def protocol(test: dict[str, Any]) -> str:
    """How a test was measured."""
    name, quantise, sigma = (test.get(key) for key in PROTOCOL)
    noise = '' if sigma is None else f', noise of sigma {sigma:g}'
    return f'protocol {name}, 8 bits by {quantise}{noise}'


def commits(found: Sequence[Results]) -> str:
    """The project's commits, shortened; '+': with changes that were not committed."""
    full = dict.fromkeys(r.made_with.get('commit', 'unknown') for r in found)
    return _joined(f'`{name[:7]}{"+" if name.endswith("+") else ""}`' if name != 'unknown' else name for name in full)


def settings(found: Sequence[Results], folder: Path, *tables: str) -> str:
    """What was trained and tested, how, at which commits and with which packages. All tables, or those named."""
    mine = [r for r in found if not tables or r.cell.table in tables]
    if not mine:
        return UNMEASURED
    groups: dict[tuple[str, ...], list[Results]] = {}
    for results in sorted(mine, key=lambda r: (r.cell.table, r.cell.model, r.cell.size, r.cell.framework)):
        cell, training = results.cell, results.training
        length = f'{training["iterations"]:,}' if training.get('iterations') else ''
        if length and not training.get('as_published', True):
            length += ' (shortened)'
        tests = '; '.join(f'{n} ({t.get("images")}), {protocol(t)}' for n, t in sorted(results.tests.items()))
        place = (cell.table, f'{cell.model} {cell.size}, {cell.framework}')
        key = (*place, length, str(training.get('batch') or ''), training.get('masks') or '', tests)
        groups.setdefault(key, []).append(results)
    lines = []
    for (table, name, length, batch, masks, tests), group in groups.items():
        seeds: dict[str, list[str]] = {}
        for results in sorted(group, key=lambda r: (r.cell.arm, r.cell.seed)):
            seeds.setdefault(results.cell.arm, []).append(str(results.cell.seed))
        for found_seeds in dict.fromkeys(map(_joined, seeds.values())):
            arms = _joined(arm for arm, own in seeds.items() if _joined(own) == found_seeds)
            lines.append([table, name, arms, found_seeds, length, batch, masks, tests])
    head = ['table', 'network', 'arms', 'seeds', 'iterations', 'batch', 'masks', 'test sets (images)']
    packages = []
    for package in _PACKAGES:
        versions = sorted({v for r in mine if (v := r.made_with.get(package))})
        packages += [f'{package} {" and ".join(versions)}'] if versions else []
    counts = Counter(r.made_with.get('commit', 'unknown') for r in mine)
    cells = _joined(f'`{name}` ({count} cells)' for name, count in sorted(counts.items()))
    note = f"An empty batch is the config's own. Commits: {cells}. Packages: {_joined(packages)}."
    return f'{table_of(head, lines)}\n\n{note}'


def cost(found: Sequence[Results], folder: Path, *tables: str) -> str:
    """Parameters, multiply-accumulates, time and memory of stock students and of students with priors."""
    groups: dict[tuple[str, ...], list[Results]] = {}
    for results in found:
        if results.cost and (not tables or results.cell.table in tables):
            cell, cost = results.cell, results.cost
            kind = 'SAPD' if results.training.get('masks') else 'stock'
            where = (_size(cost), f'{cost.get("device", "unknown")}, {cost.get("threads", "?")} threads')
            groups.setdefault((cell.model, cell.size, cell.framework, *where, kind), []).append(results)
    if not groups:
        return UNMEASURED
    lines = []
    for key in sorted(groups, key=lambda key: (*key[:-1], key[-1] != 'stock')):
        model, size, framework, image, device, kind = key
        costs = [r.cost for r in groups[key]]
        lines.append(
            [
                f'{model} {size}, {framework}',
                kind,
                str(len(costs)),
                _all(costs, 'parameters', 1, '{:,.0f}'),
                _all(costs, 'macs', 1e-9, '{:.3f}'),
                _median(costs, 'milliseconds', 1, '{:.1f}'),
                _median(costs, 'over_stock', 1, '{:.2f} x'),
                _median(costs, 'memory', 2**-20, '{:.0f}'),
                f'{image}, {device}',
            ]
        )
    head = ['network', 'students', 'measured', 'parameters', 'GMACs', 'time (ms)', 'over stock', 'memory (MB)', 'on']
    used = [r for group in groups.values() for r in group]
    note = (
        'Time and memory are medians over students; "over stock" is the median of times over those of a stock student '
        f'that was timed in turn with them. Measured at commit {commits(used)}, written by `{COMMAND}`.'
    )
    return f'{table_of(head, lines)}\n\n{note}'


def _size(cost: dict[str, Any]) -> str:
    shape = cost.get('shape')
    return 'x'.join(map(str, shape)) if shape else 'unknown size'


def _all(costs: Iterable[dict[str, Any]], key: str, factor: float, form: str) -> str:
    return ' or '.join(form.format(v * factor) for v in sorted({c[key] for c in costs if c.get(key) is not None}))


def _median(costs: Iterable[dict[str, Any]], key: str, factor: float, form: str) -> str:
    values = [c[key] for c in costs if c.get(key) is not None]
    return form.format(median(values) * factor) if values else ''


def _joined(words: Iterable[str]) -> str:
    return ', '.join(words)
