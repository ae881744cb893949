"""Reports: means, intervals, paired gains; nothing that was not measured or quoted with its source."""

from __future__ import annotations

import csv
import io
import re

import numpy as np
import pytest
from scipy import stats

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments import report
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.plots import draw_cost, draw_curves
from sapd_plugin.experiments.results import iter_results, load
from sapd_plugin.experiments.statistics import estimate, paired
from sapd_plugin.experiments.summary import rows
from tests.experiments.recipes import catalogue, result

STOCK, SAPD = [30.0, 30.2, 30.1], [30.3, 30.4, 30.5]


@pytest.fixture
def found(tmp_path):
    for seed in range(3):
        result(tmp_path / 'runs', 'stock', seed, STOCK[seed])
        result(tmp_path / 'runs', 'spd', seed, SAPD[seed])
    return list(iter_results(tmp_path / 'runs'))


@pytest.fixture
def trial(tmp_path):
    return catalogue(tmp_path / 'definitions')


def lines(trial, found, framework='basicsr'):
    return list(rows(trial, trial.tables['trial'], framework, found))


def test_estimates_are_students_t():
    low, high = stats.t.interval(0.95, 2, np.mean(SAPD), stats.sem(SAPD))
    value = estimate(SAPD)
    assert value.mean - value.half == pytest.approx(low)
    assert value.mean + value.half == pytest.approx(high)
    assert estimate([]) is None
    assert estimate([3.0]).half is None
    gain = paired({0: 2.0, 1: 3.0, 5: 9.0}, {0: 1.0, 1: 1.5, 2: 7.0})
    assert gain.mean == pytest.approx(1.25)
    assert gain.count == 2
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_rows_hold_means_and_gains_paired_by_seed(trial, found):
    mine = {(row.size, row.arm): row for row in lines(trial, found)}
    row = mine['tiny', 'spd']
    assert row.values['Rain100L', 'psnr'].mean == pytest.approx(30.4)
    assert row.gains['Rain100L', 'psnr'].mean == pytest.approx(np.mean(np.subtract(SAPD, STOCK)))
    assert row.gains['Rain100L', 'psnr'].half == pytest.approx(estimate(list(np.subtract(SAPD, STOCK))).half)
    assert not mine['tiny', 'stock'].gains
    assert mine['full', 'quoted'].values['Rain100L', 'psnr'].mean == 36.0
    for place in (('full', 'spd'), ('tiny', 'shuffled')):
        assert not mine[place].values


def test_runs_of_another_length_or_protocol_are_not_mixed_in(trial, tmp_path, found):
    for seed in range(3):
        result(tmp_path / 'runs', 'spd_sgr', seed, 20.0, iterations=100, as_published=False)
        other = result(tmp_path / 'runs', 'cascade', seed, 99.0)
        other.tests['Rain100L']['protocol'] = 'rgb'
        other.save(other.cell.folder(tmp_path / 'runs'))
    mine = {row.arm: row for row in lines(trial, list(iter_results(tmp_path / 'runs'))) if row.size == 'tiny'}
    assert mine['spd_sgr'].values
    assert not mine['spd_sgr'].gains  # stock was trained for longer
    assert not mine['cascade'].values
    assert '100 (shortened)' in report.markdown(trial.tables['trial'], list(mine.values()))


def test_a_report_shows_nothing_but_what_was_measured_or_quoted(trial, found):
    table = trial.tables['trial']
    text = report.markdown(table, lines(trial, found))
    assert '| RCAN tiny | masks, SPD | sam fast, restored | 300,000 | 30.40 ± 0.25 (+0.30 ± 0.25) | 0.3040' in text
    assert '| RCAN tiny | shuffled masks, SPD + SGR |  |  |  |  |  |  |  |  |' in text
    assert 'quoted: A paper & its table_1' in text
    assert 'Test images: Rain100L 3.' in text
    quoted_or_measured = {'36.00', '30.10', '30.40'}
    assert set(re.findall(r'\b[1-9]\d\.\d\d\b', text)) == quoted_or_measured
    tex = report.latex(table, lines(trial, found))
    assert r'A paper \& its table\_1' in tex
    assert r'30.40 $\pm$ 0.25' in tex
    body = tex.split(r'\hline')[1].split(r'\end{tabular}')[0].strip().splitlines()
    assert {len(re.findall(r'(?<!\\)&', line)) for line in body} == {9}
    empty = report.markdown(table, lines(trial, []))
    assert set(re.findall(r'\b[1-9]\d\.\d\d\b', empty)) == {'36.00'}


def test_csv_holds_everything_at_full_precision(trial, found):
    read = list(csv.DictReader(io.StringIO(report.csv_text(trial.tables['trial'], lines(trial, found)))))
    (row,) = [r for r in read if r['arm'] == 'spd' and r['metric'] == 'psnr']
    assert float(row['mean']) == pytest.approx(30.4, abs=1e-12)
    assert float(row['gain']) == pytest.approx(np.mean(np.subtract(SAPD, STOCK)), abs=1e-12)
    assert (row['seeds'], row['parameters'], row['protocol'], row['images']) == ('3', '1234', 'y', '3')
    (quoted,) = [r for r in read if r['arm'] == 'quoted']
    assert (quoted['mean'], quoted['seeds'], quoted['label']) == ('36.0', '', 'quoted: A paper & its table_1')


def test_pictures_are_drawn(trial, found, tmp_path):
    cells = [Cell('basicsr', 'trial', 'RCAN', 'tiny', arm, seed) for arm in ('stock', 'spd') for seed in (0, 1)]
    draw_curves(tmp_path / 'curves.png', trial, 'RCAN', {cell: [(100, 20.0), (200, 21.0)] for cell in cells})
    draw_cost(tmp_path / 'cost.png', trial.tables['trial'], lines(trial, found))
    for name in ('curves', 'cost'):
        assert (tmp_path / f'{name}.png').stat().st_size > 5000


def test_a_damaged_results_file_is_named(tmp_path, found):
    cell = found[0].cell
    path = cell.folder(tmp_path / 'runs') / 'results.json'
    path.write_text(path.read_text()[:50])
    with pytest.raises(SAPDError, match=r'results\.json: not a results file'):
        load(cell, tmp_path / 'runs')
