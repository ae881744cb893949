"""Arms against stock and against each other: tables, and single values for a sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean

from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.statistics import Estimate
from studies.sam_priors.study_report.about import footnote
from studies.sam_priors.study_report.markdown import table_of
from studies.sam_priors.study_report.measured import (
    DIGITS,
    STOCK,
    UNITS,
    UNMEASURED,
    Student,
    check_metric,
    number,
    student,
)


def gains(found: Sequence[Results], folder: Path, table: str, model: str) -> str:
    """All arms of a network, on each test set: means, differences to stock paired by seed, numbers of seeds."""
    one = student(found, table, model)
    if one is None:
        return UNMEASURED
    lines = []
    for test in one.tests:
        for arm in one.arms:
            values = one.mean(arm, test, 'psnr')
            if values is not None:
                lines.append([test, arm, _seeds(values, one.gain(arm, test, 'psnr')), *_gain_columns(one, arm, test)])
    head = ['test set', 'arm', 'seeds', 'PSNR (dB)', 'over stock', 'SSIM', 'over stock', 'iterations']
    note = (
        'Means over seeds, and differences to stock paired by seed ± half of their 95 % confidence interval; bold: the '
        'interval leaves out zero. An arm that was not trained for as many iterations as stock has no difference here. '
    )
    return f'{table_of(head, lines)}\n\n{note}{footnote(one.results)}'


def against(found: Sequence[Results], folder: Path, table: str, model: str, arm: str, base: str) -> str:
    """Two arms of a network, on each test set. Their trainings may differ in length; the text says by how much."""
    one = student(found, table, model)
    if one is None or not one.of(arm) or not one.of(base):
        return UNMEASURED
    lines = []
    for test in one.tests:
        psnr = one.difference(arm, base, test, 'psnr')
        if psnr is None:
            continue
        means = [number(one.mean(name, test, 'psnr'), 'psnr') for name in (arm, base)]
        ssim = one.difference(arm, base, test, 'ssim')
        lines.append([test, str(psnr.count), *means, _bold(psnr, 'psnr'), _bold(ssim, 'ssim')])
    if not lines:
        return UNMEASURED
    head = ['test set', 'seeds', f'{arm}: PSNR (dB)', f'{base}: PSNR (dB)', 'difference', 'SSIM, difference']
    trained = '; '.join(_training(one, name) for name in (arm, base))
    mine = [*one.of(arm), *one.of(base)]
    return f'{table_of(head, lines)}\n\nDifferences are paired by seed. Trained: {trained}. {footnote(mine)}'


def value(
    found: Sequence[Results], folder: Path, table: str, model: str, arm: str, base: str, test: str, metric: str
) -> str:
    """An arm less another on one test set, paired by seed."""
    check_metric(metric)
    one = student(found, table, model)
    estimate = one.difference(arm, base, test, metric) if one else None
    return _inline(estimate, metric, signed=True)


def mean(found: Sequence[Results], folder: Path, table: str, model: str, arm: str, test: str, metric: str) -> str:
    """An arm's mean over seeds on one test set."""
    check_metric(metric)
    one = student(found, table, model)
    return _inline(one.mean(arm, test, metric) if one else None, metric)


def seeds(found: Sequence[Results], folder: Path, table: str, model: str, arm: str, base: str, test: str) -> str:
    """Over how many seeds two arms are compared."""
    one = student(found, table, model)
    estimate = one.difference(arm, base, test, 'psnr') if one else None
    return str(estimate.count) if estimate else UNMEASURED


def _inline(estimate: Estimate | None, metric: str, signed: bool = False) -> str:
    if estimate is None:
        return UNMEASURED
    single = ' (one seed)' if estimate.half is None else ''
    return f'{number(estimate, metric, signed)}{UNITS[metric]}{single}'


def _gain_columns(one: Student, arm: str, test: str) -> list[str]:
    columns = []
    for metric in DIGITS:
        columns += [
            number(one.mean(arm, test, metric), metric),
            '' if arm == STOCK else _bold(one.gain(arm, test, metric), metric),
        ]
    iterations = one.iterations(arm)
    return [*columns, f'{iterations:,}' if iterations else '']


def _seeds(values: Estimate, gain: Estimate | None) -> str:
    return str(values.count) if gain is None or gain.count == values.count else f'{values.count}, {gain.count} paired'


def _bold(estimate: Estimate | None, metric: str) -> str:
    text = number(estimate, metric, signed=True)
    certain = estimate is not None and estimate.half is not None and abs(estimate.mean) > estimate.half
    return f'**{text}**' if certain else text


def _training(one: Student, arm: str) -> str:
    iterations, seconds = one.iterations(arm), [s for r in one.of(arm) if (s := r.training.get('seconds'))]
    parts = [f'{iterations:,} iterations'] if iterations else []
    parts += [f'{fmean(seconds):,.0f} s in the mean'] if seconds else []
    return f'{arm} {", ".join(parts) or "as published"}'
