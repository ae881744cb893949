"""Question 3 of the second study: what students gain, and whether the claims of PROTOCOL.md hold."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from math import ceil, inf

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


def holm(p: Sequence[float], planned: int | None = None) -> np.ndarray:
    """Correct the p-values of tests that are made together (Holm's method).

    Args:
        p: p-values; NaN, of a test that says nothing, stays NaN.
        planned: the number of tests that were planned; those that ``p`` lacks count as if their p were 1. By default,
            as many as ``p`` holds numbers.

    >>> holm([0.01, 0.04, 0.03]).tolist(), holm([0.01, 0.04], planned=3).tolist()
    ([0.03, 0.06, 0.06], [0.03, 0.08])
    """
    values = np.asarray(p, dtype=float)
    order = values.argsort()[: np.isfinite(values).sum()]  # NaN comes last
    tests = len(order) if planned is None else planned
    steps = (tests - np.arange(len(order))) * values[order]
    corrected = np.full_like(values, np.nan)
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
        difference (dB, with its 95 % interval), p, corrected (p by Holm's method over all claims and regimes, measured
        or not), and holds: whether the difference is positive and ``corrected`` below `LEVEL`.
    """
    rows = []
    for claim, (arm, base) in CLAIMS.items():
        for table, regime in REGIMES.items():
            gaps = study.gaps(arm, base, table, model, test)
            if len(gaps) > 1:
                p = float(stats.ttest_1samp(gaps, 0.0).pvalue) if gaps.any() else 1.0  # 0 / 0, of equal students
                rows.append((claim, regime, len(gaps), gaps.mean(), text(overall(gaps), bold=True), p))
    frame = pd.DataFrame(rows, columns=['claim', 'regime', 'seeds', 'mean', 'difference', 'p'])
    frame['corrected'] = holm(frame['p'].tolist(), len(CLAIMS) * len(REGIMES))
    return frame.assign(holds=(frame['mean'] > 0) & (frame['corrected'] < LEVEL))


def spread(study: Study, table: str, model: str, test: str) -> tuple[float, int]:
    """Return how far differences from stock spread over seeds, from all arms of its length with several seeds.

    Args:
        study: the measurements.
        table: of a pilot.
        model: the student.
        test: the test set.

    Returns:
        The standard deviation (dB), pooled over arms, and its degrees of freedom; NaN and 0 if no arm has two seeds.
    """
    rows = study.arms(table)
    arms = rows.loc[(rows['model'] == model) & rows['comparable'], 'arm']
    gaps = [study.gaps(arm, STOCK, table, model, test) for arm in arms]
    gaps = [each for each in gaps if len(each) > 1 and each.any()]  # a student that is stock tells nothing
    freedom = sum(len(each) - 1 for each in gaps)
    squares = sum((len(each) - 1) * each.var() for each in gaps)
    return (float(np.sqrt(squares / freedom)) if freedom else float('nan')), freedom


def seeds_needed(deviation: float, difference: float = LOOKED_FOR) -> int:
    """Return the least number of seeds with which a 95 % interval is no wider than ``difference`` to each side.

    Raises:
        ValueError: the standard deviation is not a number >= 0, or the difference not one above 0.

    >>> seeds_needed(0.05), seeds_needed(0.1)
    (4, 7)
    """
    if not 0 <= deviation < inf:
        raise ValueError(f'deviation: found {deviation}, expected a number >= 0.')
    if not 0 < difference < inf:
        raise ValueError(f'difference: found {difference}, expected a number > 0.')
    fewest = ceil((stats.norm.ppf(0.975) * deviation / difference) ** 2)  # Student's t is wider than this
    return next(n for n in count(max(fewest, 2)) if stats.t.ppf(0.975, n - 1) * deviation / n**0.5 <= difference)


def curve(study: Study, table: str, model: str) -> pd.DataFrame:
    """Return PSNR minus stock's on validation photos during training, at `CURVE` of the schedule.

    Args:
        study: the measurements.
        table: of the regime.
        model: the student.

    Returns:
        A row per arm that was validated at stock's iterations, best at the end first: arm, and a column per share of
        stock's schedule, as text ('' where the arm was not validated). Nothing if stock's curve was not measured.
    """
    curves = study.curves(table, model)
    if STOCK not in curves.index.get_level_values('arm'):
        return pd.DataFrame()
    stock = curves.xs(STOCK, level='arm').dropna(axis='columns', how='all')
    # The student that all arms start from was trained for longer, and has other iterations.
    gaps = (curves[stock.columns] - stock).drop(index=STOCK, level='arm').dropna(how='all')
    if gaps.empty:
        return pd.DataFrame()
    last = stock.columns.max()
    shown = {}
    for share in CURVE:
        step = min(stock.columns, key=lambda step, share=share: abs(step - share * last))
        means = summarise(gaps[step], ['arm'])
        shown[f'{share:.0%} ({step:,d})'] = {arm: text(row, bold=True) for arm, row in means.iterrows()}
    order = gaps[last].groupby(level='arm').mean().sort_values(ascending=False).index
    return pd.DataFrame(shown, order).fillna('').rename_axis('arm').reset_index()
