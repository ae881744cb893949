"""Blocks from the study's other CSVs: ideas that were tried, the teacher by regions, and any other as it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from sapd_plugin.errors import SAPDError, check_keys
from sapd_plugin.experiments.collected import read_rows
from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.statistics import paired
from studies.sam_priors.study_report.about import COMMAND, footnote
from studies.sam_priors.study_report.markdown import table_of
from studies.sam_priors.study_report.measured import STOCK, UNITS, UNMEASURED, number, students

IDEAS = ('idea', 'expectation', 'arm', 'kept', 'why')
EXPLORED, VALIDATION = 'mini_explore', 'val'
TEACHER = ('table', 'model', 'arm', 'seed', 'image', 'kind')
"""Columns of teacher.csv that say what a line is about; one line an image and kind of region."""
TEACHER_MORE = ('framework', 'size', 'test')
MADE_WITH = ('command', 'commit')
"""Columns of any of these files that go into the note below the table."""
DIFFERENCES = (
    ('psnr_z', 'psnr_y'),
    ('psnr_z', 'psnr_z_shuffled'),
    ('psnr_z', 'psnr_z_empty'),
    ('psnr_y', 'psnr_stock'),
)


def ideas(found: Sequence[Results], folder: Path) -> str:
    """Ideas of ``ideas.csv`` (idea, expectation, arm, kept, why) with what was measured of them.

    That is the arm's PSNR in the table `EXPLORED` on its validation set, less stock's, paired by seed; an arm may be
    empty where nothing was to be measured.
    """
    path = folder / 'ideas.csv'
    if not path.is_file():
        return UNMEASURED
    rows = read_rows(path, IDEAS, exactly=True)
    lines = [[r['idea'], r['expectation'], r['arm'], _explored(found, r['arm']), r['kept'], r['why']] for r in rows]
    head = ['idea', 'expectation', 'arm', 'measured: PSNR over stock', 'kept', 'why']
    mine = [r for r in found if r.cell.table == EXPLORED]
    return f'{table_of(head, lines)}\n\n{footnote(mine)}' if mine else table_of(head, lines)


def _explored(found: Sequence[Results], arm: str) -> str:
    networks, texts = students(found, EXPLORED), []
    for one in networks:
        gain = None if arm in ('', STOCK) else one.gain(arm, VALIDATION, 'psnr')
        if gain is not None:
            name = f'{one.name} ' if len(networks) > 1 else ''
            count = f'{gain.count} seed{"s" if gain.count > 1 else ""}'
            texts.append(f'{name}{number(gain, "psnr", signed=True)}{UNITS["psnr"]} ({count})')
    return '; '.join(texts) or ('' if arm in ('', STOCK) else UNMEASURED)


def teacher(found: Sequence[Results], folder: Path, *kinds: str) -> str:
    """Means of ``teacher.csv`` over images and seeds, by table, model, arm and kind of region.

    Columns that are read: `TEACHER`, which have to be there; `TEACHER_MORE`, which may be, and keep lines apart, too;
    `MADE_WITH`, which may be; and any others, whose values are numbers, or empty or nan where an image has no such
    region. Of the pairs `DIFFERENCES`, where both columns are there, the difference is given as well, over images
    where both are numbers: its mean over images, then over seeds ± half of the 95 % confidence interval.

    Args:
        found: not used.
        folder: of the study.
        kinds: of regions; all of them by default.

    Raises:
        SAPDError: a column is missing, a value is no finite number, or there is no such kind.
    """
    path = folder / 'teacher.csv'
    if not path.is_file():
        return UNMEASURED
    rows = read_rows(path, TEACHER)
    check_keys('study: teacher', kinds, dict.fromkeys(row['kind'] for row in rows))
    keys = [key for key in (*TEACHER[:3], *TEACHER_MORE, 'kind') if rows and key in rows[0]]
    numbers = [key for key in (rows[0] if rows else ()) if key not in (*TEACHER, *TEACHER_MORE, *MADE_WITH)]
    pairs = [pair for pair in DIFFERENCES if set(pair) <= set(numbers)]
    groups: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for row in rows:
        if not kinds or row['kind'] in kinds:
            groups.setdefault(tuple(row[key] for key in keys), []).append(row)
    if not groups:
        return UNMEASURED
    lines = []
    for place, members in groups.items():
        counts = [str(len({row[key] for row in members})) for key in ('image', 'seed')]
        means = [_mean(by_seed(members, key, path)) for key in numbers]
        lines.append([*place, *counts, *means, *(_difference(members, *pair, path) for pair in pairs)])
    head = [*keys, 'images', 'seeds', *numbers, *(f'{own} - {base}' for own, base in pairs)]
    note = (
        'Means over images, then over seeds; differences over images that have both, ± half of the 95 % confidence '
        'interval over seeds.'
    )
    return f'{table_of(head, lines)}\n\n{note} {made_with([row for rows in groups.values() for row in rows], path)}'


def sheet(found: Sequence[Results], folder: Path, name: str) -> str:
    """``NAME.csv`` as it is, numbers shortened to four digits.

    Args:
        found: not used.
        folder: of the study.
        name: of the file, without its ending.
    """
    path = folder / f'{name}.csv'
    rows = read_rows(path, ()) if path.is_file() else []
    if not rows:
        return UNMEASURED
    head = [key for key in rows[0] if key not in MADE_WITH]
    return f'{table_of(head, [[_short(row[key]) for key in head] for row in rows])}\n\n{made_with(rows, path)}'


def made_with(rows: Sequence[Mapping[str, str]], path: Path) -> str:
    """Name the file, and what its columns `MADE_WITH` say."""
    texts = [f'From `{path.name}` by `{COMMAND}`.']
    for key, what in zip(MADE_WITH, ('Measured by', 'At commit')):
        values = dict.fromkeys(row[key] for row in rows if row.get(key))
        texts += [f'{what} {", ".join(f"`{value}`" for value in values)}.'] if values else []
    return ' '.join(texts)


def by_seed(rows: Sequence[Mapping[str, str]], key: str, path: Path) -> dict[int, dict[str, float]]:
    """A column's values by seed and image, lines without a value left out.

    Raises:
        SAPDError: a seed is no whole number, or a value no finite number.
    """
    found: dict[int, dict[str, float]] = {}
    for row in rows:
        if not row['seed'].isdigit():
            raise SAPDError(f"{path} seed: found '{row['seed']}', expected a whole number.")
        value = number_of(row, key, path)
        if value is not None:
            found.setdefault(int(row['seed']), {})[row['image']] = value
    return found


def _mean(values: Mapping[int, Mapping[str, float]]) -> str:
    return f'{fmean(fmean(images.values()) for images in values.values()):.4g}' if values else ''


def _difference(rows: Sequence[Mapping[str, str]], own: str, base: str, path: Path) -> str:
    both = [row for row in rows if number_of(row, own, path) is not None and number_of(row, base, path) is not None]
    means = [{seed: fmean(images.values()) for seed, images in by_seed(both, key, path).items()} for key in (own, base)]
    return number(paired(*means), 'psnr', signed=True)


def number_of(row: Mapping[str, str], key: str, path: Path) -> float | None:
    """A line's value; None where it is empty or nan. Raises `SAPDError` for what is no finite number."""
    try:
        value = float(row[key] or 'nan')
    except ValueError:
        value = math.inf
    if math.isinf(value):
        raise SAPDError(f"{path} {key}: found '{row[key]}', expected a finite number, or nothing.")
    return None if math.isnan(value) else value


def _short(text: str) -> str:
    try:
        return text if text.lstrip('-').isdigit() else f'{float(text):.4g}'
    except ValueError:
        return text
