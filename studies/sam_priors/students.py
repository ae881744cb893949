"""Question 3 of the second study: what students gain, and whether the claims of PROTOCOL.md hold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count

import numpy as np
import pandas as pd
from scipy import stats

from studies.sam_priors.measurements import Study, overall, summarise, text

STOCK = 'stock'
REGIMES = {
    'noise50_scratch': 'from scratch',
    'noise50_few': 'from scratch, 24 photos',
    'noise50_trained': 'a trained student',
}
# Claim -> arm, and the arm that it has to be better than.
CLAIMS = {"the masks'": ('student_clean', 'student_free'), "the method's": ('student_clean', STOCK)}
LEVEL = 0.05
LOOKED_FOR = 0.10  # dB over stock
CURVE = (0.1, 0.3, 1.0)


def holm(p: Sequence[float]) -> np.ndarray:
    """Correct the p-values of tests that are made together (Holm's method).

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p, dtype=float)
    order = values.argsort()
    steps = np.arange(len(values), 0, -1) * values[order]
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected


def claims(study: Study, model: str, test: str) -> pd.DataFrame:
    """Test each claim in each regime, by Student's t over seeds, paired and two-sided.

    Args:
        study: the measurements.
        model: the student.
        test: the test set.

    Returns:
        A row per claim and regime that at least two seeds were measured for: claim, regime, the number of seeds,
        difference (dB, with its 95 % interval), p, corrected (p by Holm's method over all rows), and holds: whether the
        difference is positive and ``corrected`` below `LEVEL`.
    """
    rows = []
    for claim, (arm, base) in CLAIMS.items():
        for table, regime in REGIMES.items():
            gaps = study.gaps(arm, base, table, model, test)
            if len(gaps) > 1:
                p = float(stats.ttest_1samp(gaps, 0.0).pvalue)
                rows.append((claim, regime, len(gaps), gaps.mean(), text(overall(gaps), bold=True), p))
    frame = pd.DataFrame(rows, columns=['claim', 'regime', 'seeds', 'mean', 'difference', 'p'])
    frame['corrected'] = holm(frame['p'].tolist())
    return frame.assign(holds=(frame['mean'] > 0) & (frame['corrected'] < LEVEL))


def spread(study: Study, table: str, model: str, test: str) -> tuple[float, int]:
    """Return how far differences from stock spread over seeds, from all arms with several seeds.

    Args:
        study: the measurements.
        table: of a pilot.
        model: the student.
        test: the test set.

    Returns:
        The standard deviation (dB), pooled over arms, and its degrees of freedom; NaN and 0 if no arm has two seeds.
    """
    rows = study.arms(table)
    arms = [arm for arm in rows.loc[rows['model'] == model, 'arm'] if arm != STOCK]
    gaps = [study.gaps(arm, STOCK, table, model, test) for arm in arms]
    gaps = [each for each in gaps if len(each) > 1 and each.any()]  # a student that is stock tells nothing
    freedom = sum(len(each) - 1 for each in gaps)
    squares = sum((len(each) - 1) * each.var() for each in gaps)
    return (float(np.sqrt(squares / freedom)) if freedom else float('nan')), freedom


def seeds_needed(deviation: float, difference: float = LOOKED_FOR) -> int:
    """Return the least number of seeds with which a 95 % interval is no wider than ``difference`` to each side.

    >>> seeds_needed(0.05), seeds_needed(0.1)
    (4, 7)
    """
    return next(n for n in count(2) if stats.t.ppf(0.975, n - 1) * deviation / n**0.5 <= difference)


def curve(study: Study, table: str, model: str) -> pd.DataFrame:
    """Return PSNR less stock's on validation photos during training, at `CURVE` of the schedule.

    Args:
        study: the measurements.
        table: of the regime.
        model: the student.

    Returns:
        A row per arm but stock's, best at the end first: arm, and a column per share of the schedule, as text.
    """
    curves = study.curves(table, model)
    last = curves.columns.max()
    steps = {share: min(curves.columns, key=lambda step, share=share: abs(step - share * last)) for share in CURVE}
    if STOCK not in curves.index.get_level_values('arm'):
        return pd.DataFrame()
    gaps = (curves - curves.xs(STOCK, level='arm')).drop(index=STOCK, level='arm')
    shown = {
        f'{share:.0%} ({step:,d})': summarise(gaps[step], ['arm']).apply(text, axis=1, bold=True)
        for share, step in steps.items()
    }
    order = gaps[last].groupby(level='arm').mean().sort_values(ascending=False).index
    return pd.DataFrame(shown).loc[order].rename_axis('arm').reset_index()
