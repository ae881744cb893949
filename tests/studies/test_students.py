"""Question 3 of the study: its claims are tested as the protocol says, and the page shows them."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from studies.sam_priors import build
from studies.sam_priors.measurements import Study
from studies.sam_priors.students import REGIMES, claims, curve, holm, seeds_needed, spread

PLACE = ('NAFNet-w8', 'CBSD68_sigma50')
STOCK = np.array([26.0, 26.2, 26.1, 26.3, 26.0])
# Gains over stock of five seeds.
GAINS = {
    'student_clean': np.array([0.10, 0.12, 0.11, 0.09, 0.13]),
    'student_free': np.array([0.11, 0.10, 0.12, 0.11, 0.10]),
}


@pytest.fixture
def results(tmp_path):
    """The study's CSVs, with made-up students of the regimes from scratch; the second regime's gain less.

    The second regime's student was trained before, for longer, and validated once.
    """
    folder = shutil.copytree(build.FOLDER / 'results', tmp_path / 'results')
    frame = pd.read_csv(folder / 'cells.csv', dtype=str, keep_default_na=False)
    frame = frame[~frame['table'].isin(list(REGIMES))]
    like = frame.query("table == 'noise50_ideas' and arm == 'stock' and seed == '0'").to_dict('records')
    rows = [
        {
            **one, 'table': table, 'arm': arm, 'seed': str(seed), 'test': PLACE[1],
            'value': str(round(value, 4) if one['metric'] == 'psnr' else 0.7),
            'more': json.dumps({'training.curve': {'150': value - 5, '450': value - 1, '1500': value}}),
        }
        for table, factor in (('noise50_scratch', 1.0), ('noise50_few', -0.5))
        for arm, gains in {'stock': 0 * STOCK, **GAINS}.items()
        for seed, value in enumerate(STOCK + factor * gains)
        for one in like
    ]  # fmt: skip
    start = {'arm': 'pretraining', 'iterations': '6000', 'more': json.dumps({'training.curve': {'6000': 24.0}})}
    rows += [{**row, **start} for row in rows if row['table'] == 'noise50_few' and row['arm'] == 'stock']
    pd.concat([frame, pd.DataFrame(rows)]).to_csv(folder / 'cells.csv', index=False, lineterminator='\n')
    return folder


def test_the_claims_are_paired_t_tests_that_are_corrected_together(results):
    found = claims(Study(results), *PLACE).set_index(['claim', 'regime'])
    assert len(found) == 4
    gaps = GAINS['student_clean']
    row = found.loc[("the method's", 'from scratch')]
    p = 2 * t.sf(gaps.mean() / (gaps.std(ddof=1) / 5**0.5), 4)
    assert (row['seeds'], row['mean'], row['p']) == (5, pytest.approx(0.11), pytest.approx(p, rel=1e-3))
    assert row['corrected'] == pytest.approx(6 * p, rel=1e-3)  # two claims in three regimes, as PROTOCOL.md has them
    assert row['difference'] == '**+0.110 ± 0.020**'
    assert found['holds'].tolist() == [False, False, True, False]  # the fourth is certain, but a loss
    assert found.loc[("the method's", 'from scratch, 24 photos'), 'corrected'] < 0.05


def test_holm_equals_its_definition():
    p = np.random.default_rng(0).uniform(size=7) ** 2
    expected = [max(min(1, (7 - (p < one).sum()) * one) for one in p[p <= value]) for value in p]
    assert holm(p) == pytest.approx(expected)
    assert holm([*p, math.nan]) == pytest.approx([*expected, math.nan], nan_ok=True)
    assert holm([math.nan, *p[:5]], planned=7)[1:] == pytest.approx(holm([*p[:5], 1, 1])[:5])
    assert len(holm([])) == 0


def test_what_was_not_measured_is_no_claim(results):
    frame = pd.read_csv(results / 'cells.csv', dtype=str, keep_default_na=False)
    frame[~frame['arm'].isin(list(GAINS))].to_csv(results / 'cells.csv', index=False, lineterminator='\n')
    assert claims(Study(results), *PLACE).empty


def test_students_that_are_equal_are_no_claim(results):
    frame = pd.read_csv(results / 'cells.csv', dtype=str, keep_default_na=False)
    stock = frame[(frame['arm'] == 'stock') & (frame['table'] == 'noise50_scratch')]
    rows = [frame[(frame['table'] != 'noise50_scratch')], *(stock.assign(arm=arm) for arm in ('stock', *GAINS))]
    pd.concat(rows).to_csv(results / 'cells.csv', index=False, lineterminator='\n')
    found = claims(Study(results), *PLACE).set_index(['claim', 'regime']).xs('from scratch', level='regime')
    assert found['difference'].tolist() == ['0.000 ± 0.000'] * 2
    assert found[['p', 'corrected']].to_numpy().tolist() == [[1, 1]] * 2
    assert not found['holds'].any()


@pytest.mark.parametrize(('deviation', 'difference'), [(0.134, 0.1), (0.02, 0.1), (0.0, 0.1), (3.0, 0.01)])
def test_the_seeds_that_are_needed_are_just_enough(deviation, difference):
    n = seeds_needed(deviation, difference)
    assert t.ppf(0.975, n - 1) * deviation / n**0.5 <= difference
    assert n == 2 or t.ppf(0.975, n - 2) * deviation / (n - 1) ** 0.5 > difference


@pytest.mark.parametrize(
    ('deviation', 'difference', 'found'),
    [
        (math.nan, 0.1, 'deviation: found nan'),
        (math.inf, 0.1, 'deviation: found inf'),
        (-0.1, 0.1, 'deviation: found -0.1'),
        (0.1, 0.0, 'difference: found 0.0'),
        (0.1, math.nan, 'difference: found nan'),
    ],
)
def test_no_number_of_seeds_is_enough_for_these(deviation, difference, found):
    with pytest.raises(ValueError, match=f'{found}, expected a number'):
        seeds_needed(deviation, difference)


def test_the_spread_is_pooled_over_arms(results):
    deviation, freedom = spread(Study(results), 'noise50_scratch', *PLACE)
    assert freedom == 8
    assert deviation == pytest.approx(np.mean([gains.var(ddof=1) for gains in GAINS.values()]) ** 0.5)
    assert spread(Study(results), 'noise50_few', *PLACE)[1] == 8  # without the students' start
    assert spread(Study(results), 'heavy_rain', *PLACE)[1] == 0


def test_curves_are_differences_from_stock(results):
    shown = curve(Study(results), 'noise50_scratch', PLACE[0])
    assert list(shown) == ['arm', '10% (150)', '30% (450)', '100% (1,500)']
    assert shown['arm'].tolist() == ['student_clean', 'student_free']
    assert shown['10% (150)'].tolist() == ['**+0.110 ± 0.020**', '**+0.108 ± 0.010**']


def test_curves_have_stocks_schedule_and_gaps_where_an_arm_was_not_validated(results):
    frame = pd.read_csv(results / 'cells.csv', dtype=str, keep_default_na=False)
    halted = (frame['table'] == 'noise50_few') & (frame['arm'] == 'student_free')
    frame.loc[halted, 'more'] = frame.loc[halted, 'more'].map(
        lambda more: json.dumps({'training.curve': {'150': json.loads(more)['training.curve']['150']}})
    )
    frame.to_csv(results / 'cells.csv', index=False, lineterminator='\n')
    shown = curve(Study(results), 'noise50_few', PLACE[0])
    assert list(shown) == ['arm', '10% (150)', '30% (450)', '100% (1,500)']
    assert shown.to_numpy().tolist() == [
        ['student_clean', *['**-0.055 ± 0.010**'] * 3],
        ['student_free', '**-0.054 ± 0.005**', '', ''],
    ]


@pytest.mark.parametrize(('table', 'model'), [('noise50_gpu', 'NAFNet-w8'), ('noise50_scratch', 'FFDNet-w32')])
def test_there_is_no_curve_of_what_was_not_measured(results, table, model):
    assert curve(Study(results), table, model).empty


def test_the_page_shows_the_claims(results, tmp_path):
    page = tmp_path / 'README.md'
    assert build.main(['--results', str(results), '--page', str(page)]) == 0
    text = page.read_text(encoding='utf-8')
    assert "| the method's | from scratch | 5 | **+0.110 ± 0.020** | < 0.001 | < 0.001 | yes |" in text
    assert '**From scratch, 24 photos**' in text
    answer = text[: text.index('## The second study')]
    assert '**A student gains over stock** (from scratch); no part of it is shown to be due to masks.' in answer
    assert "- From scratch (5 seeds): **+0.110 ± 0.020** dB over stock, so the method's claim holds" in answer
    assert '- A trained student: not measured with several seeds yet.' in answer
    assert '| student_free | **+0.108 ± 0.010** |' in text
