"""What SPD and SGR weigh in the student's loss, and whether the teacher is ahead, from the trainings' own logs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from sapd_plugin.experiments.results import Results
from studies.sam_priors.study_report.about import COMMAND, commits
from studies.sam_priors.study_report.markdown import table_of
from studies.sam_priors.study_report.measured import UNMEASURED

TEACHING = ('l_spd', 'l_sgr')
SECOND = 'l_spf'
"""Trains the second network; the student, too, where an arm says so."""


def losses(found: Sequence[Results], folder: Path, *tables: str) -> str:
    """Arms with priors of these tables (all by default): shares of SPD and SGR in the student's loss, z ahead of y.

    Args:
        found: all that was measured.
        folder: not used.
        tables: names.
    """
    mine = [r for r in found if r.training.get('logged', {}).get('steps') and (not tables or r.cell.table in tables)]
    if not mine:
        return UNMEASURED
    groups: dict[tuple[str, str, str], list[Mapping[str, float]]] = {}
    for r in mine:
        groups.setdefault((r.cell.table, r.cell.model, r.cell.arm), []).append(r.training['logged'])
    lines = []
    for place, logs in sorted(groups.items()):
        shares = [_share([_part(log, key) for log in logs]) for key in TEACHING]
        ahead = fmean(log['psnr_refined'] - log['psnr_restored'] for log in logs)
        lines.append([*place, str(len(logs)), *shares, f'{ahead:+.3f}'])
    head = ['table', 'network', 'arm', 'seeds', 'SPD: share of the loss', 'SGR: share', 'z over y (dB)']
    note = (
        "Second half of the training, its patches; shares are of the sum of the student's own losses, SPD and SGR as "
        'they are weighted; "z over y": PSNR of the refined images less that of the restored ones.'
    )
    return f'{table_of(head, lines)}\n\n{note} Measured at commit {commits(mine)}, written by `{COMMAND}`.'


def _part(log: Mapping[str, float], key: str) -> float | None:
    """A loss' share; None where the arm does not have it."""
    total = sum(value for name, value in log.items() if name.startswith('l_') and name != SECOND)
    return log[key] / total if key in log else None


def _share(parts: Sequence[float | None]) -> str:
    values = [part for part in parts if part is not None]
    return f'{fmean(values):.2g}' if values else ''
