"""What a teacher that is far ahead hands on to a student: ``ceiling.csv`` of tools/distillation_ceiling.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.collected import read_rows
from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.statistics import Estimate, estimate, paired
from studies.sam_priors.study_report.markdown import table_of
from studies.sam_priors.study_report.measured import UNITS, UNMEASURED, number
from studies.sam_priors.study_report.sheets import made_with

COLUMNS = ('weight', 'seed', 'psnr', 'psnr_teacher', 'iterations', 'images', 'command', 'commit')
NONE = '0'
"""SPD's weight of the stock student."""


def ceiling(found: Sequence[Results], folder: Path) -> str:
    """PSNR by SPD's weight, and the gain over weight 0 paired by seed."""
    path = folder / 'ceiling.csv'
    if not path.is_file():
        return UNMEASURED
    rows = read_rows(path, COLUMNS, exactly=True)
    lengths = {(row['iterations'], row['images'], row['psnr_teacher']) for row in rows}
    if len(lengths) != 1:
        raise SAPDError(f'{path}: found runs of {len(lengths)} settings (iterations, images, teacher), expected one.')
    ((iterations, images, teacher),) = lengths
    values = _by_weight(rows)
    lines = [
        [weight, str(len(own)), number(estimate(list(own.values())), 'psnr'), _gain(own, values, weight)]
        for weight, own in values.items()
    ]
    head = ["SPD's weight", 'seeds', 'PSNR (dB)', 'over weight 0']
    note = (
        f'The teacher has {float(teacher):.2f}{UNITS["psnr"]}; {images} validation photos, sigma 25, {iterations} '
        f'iterations. {made_with(rows, path)}'
    )
    return f'{table_of(head, lines)}\n\n{note}'


def ceiling_value(found: Sequence[Results], folder: Path, weight: str) -> str:
    """The gain of one weight over weight 0."""
    path = folder / 'ceiling.csv'
    values = _by_weight(read_rows(path, COLUMNS, exactly=True)) if path.is_file() else {}
    gain = _difference(values.get(weight, {}), values)
    return UNMEASURED if gain is None else f'{number(gain, "psnr", signed=True)}{UNITS["psnr"]}'


def _by_weight(rows: Sequence[Mapping[str, str]]) -> dict[str, dict[int, float]]:
    found: dict[str, dict[int, float]] = {}
    for row in rows:
        found.setdefault(row['weight'], {})[int(row['seed'])] = float(row['psnr'])
    return found


def _difference(own: Mapping[int, float], values: Mapping[str, Mapping[int, float]]) -> Estimate | None:
    return paired(own, values.get(NONE, {}))


def _gain(own: Mapping[int, float], values: Mapping[str, Mapping[int, float]], weight: str) -> str:
    return '' if weight == NONE else number(_difference(own, values), 'psnr', signed=True)
