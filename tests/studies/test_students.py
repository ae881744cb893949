"""Question 3 of the study: its claims are tested as the protocol says, and the page shows them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from studies.sam_priors import build
from studies.sam_priors.measurements import Study
from studies.sam_priors.students import REGIMES, claims, curve, holm, spread

PLACE = ('NAFNet-w8', 'CBSD68_sigma50')
STOCK = np.array([26.0, 26.2, 26.1, 26.3, 26.0])
# Gains over stock of five seeds.
GAINS = {
    'student_clean': np.array([0.10, 0.12, 0.11, 0.09, 0.13]),
    'student_free': np.array([0.11, 0.10, 0.12, 0.11, 0.10]),
}


@pytest.fixture
def results(tmp_path):
    """The study's CSVs, with made-up students of the regimes from scratch; the second regime's gain less."""
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
    pd.concat([frame, pd.DataFrame(rows)]).to_csv(folder / 'cells.csv', index=False, lineterminator='\n')
    return folder


def test_the_claims_are_paired_t_tests_that_are_corrected_together(results):
    found = claims(Study(results), *PLACE).set_index(['claim', 'regime'])
    assert len(found) == 4
    gaps = GAINS['student_clean']
    row = found.loc[("the method's", 'from scratch')]
    p = 2 * t.sf(gaps.mean() / (gaps.std(ddof=1) / 5**0.5), 4)
    assert (row['seeds'], row['mean'], row['p']) == (5, pytest.approx(0.11), pytest.approx(p, rel=1e-3))
    assert row['corrected'] == pytest.approx(4 * p, rel=1e-3)
    assert row['difference'] == '**+0.110 ± 0.020**'
    assert found['holds'].tolist() == [False, False, True, False]  # the fourth is certain, but a loss
    assert found.loc[("the method's", 'from scratch, 24 photos'), 'corrected'] < 0.05


def test_holm_equals_its_definition():
    p = np.random.default_rng(0).uniform(size=7) ** 2
    expected = [max(min(1, (7 - (p < one).sum()) * one) for one in p[p <= value]) for value in p]
    assert holm(p) == pytest.approx(expected)


def test_what_was_not_measured_is_no_claim(results):
    frame = pd.read_csv(results / 'cells.csv', dtype=str, keep_default_na=False)
    frame[~frame['arm'].isin(list(GAINS))].to_csv(results / 'cells.csv', index=False, lineterminator='\n')
    assert claims(Study(results), *PLACE).empty


def test_the_spread_is_pooled_over_arms(results):
    deviation, freedom = spread(Study(results), 'noise50_scratch', *PLACE)
    assert freedom == 8
    assert deviation == pytest.approx(np.mean([gains.var(ddof=1) for gains in GAINS.values()]) ** 0.5)
    assert spread(Study(results), 'heavy_rain', *PLACE)[1] == 0


def test_curves_are_differences_from_stock(results):
    shown = curve(Study(results), 'noise50_scratch', PLACE[0])
    assert list(shown) == ['arm', '10% (150)', '30% (450)', '100% (1,500)']
    assert shown['arm'].tolist() == ['student_clean', 'student_free']
    assert shown['10% (150)'].tolist() == ['**+0.110 ± 0.020**', '**+0.108 ± 0.010**']


def test_the_page_shows_the_claims(results, tmp_path):
    page = tmp_path / 'README.md'
    assert build.main(['--results', str(results), '--page', str(page)]) == 0
    text = page.read_text(encoding='utf-8')
    assert "| the method's | from scratch | 5 | **+0.110 ± 0.020** | < 0.001 | < 0.001 | yes |" in text
    assert '**From scratch, 24 photos**' in text
    assert '| student_free | **+0.108 ± 0.010** |' in text
