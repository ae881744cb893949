"""Reports: means, intervals, paired gains; nothing that was not measured or quoted with its source."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.statistics import half_width
from sapd_plugin.experiments import report
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.pictures import draw_cost, draw_curves
from sapd_plugin.experiments.results import iter_results, load, read_finished
from sapd_plugin.experiments.run import Log, Run
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


def summary(trial, found):
    return report.summarise(trial, trial.tables['trial'], 'basicsr', found)


def part(frame, size, arm, metric='psnr'):
    return frame[(frame['size'] == size) & (frame['arm'] == arm) & (frame['metric'] == metric)]


def test_a_summary_holds_means_and_gains_paired_by_seed(trial, found, tmp_path):
    found += [result(tmp_path / 'runs', 'spd', 5, 99.0)]  # of a seed that stock does not have
    frame = summary(trial, found)
    row = part(frame, 'tiny', 'spd').iloc[0]
    gains = np.subtract(SAPD, STOCK)
    assert row['mean'] == pytest.approx(np.mean([*SAPD, 99.0]))
    assert row['half_width_95'] == pytest.approx(half_width([*SAPD, 99.0]))
    assert row['gain'] == pytest.approx(gains.mean())
    assert row['gain_half_width_95'] == pytest.approx(half_width(gains))
    assert (row['seeds'], row['gain_seeds']) == (4, 3)
    assert part(frame, 'tiny', 'stock')['gain'].isna().all()
    assert part(frame, 'full', 'quoted')['mean'].tolist() == [36.0]
    for size, arm in (('full', 'spd'), ('tiny', 'shuffled')):
        (empty,) = frame[(frame['size'] == size) & (frame['arm'] == arm)].itertuples()
        assert pd.isna(empty.test)


def test_runs_of_another_length_or_protocol_are_not_mixed_in(trial, tmp_path, found):
    for seed in range(3):
        result(tmp_path / 'runs', 'spd_sgr', seed, 20.0, iterations=100, as_published=False)
        result(tmp_path / 'runs', 'spd', seed + 3, 21.0, iterations=100, as_published=False)
        other = result(tmp_path / 'runs', 'cascade', seed, 99.0)
        other.tests['Rain100L']['protocol'] = 'rgb'
        other.save(other.cell.folder(tmp_path / 'runs'))
    frame = summary(trial, list(iter_results(tmp_path / 'runs')))
    assert part(frame, 'tiny', 'spd_sgr')['mean'].tolist() == [20.0]
    assert part(frame, 'tiny', 'spd_sgr')['gain'].isna().all()  # stock was trained for longer
    assert part(frame, 'tiny', 'spd')['mean'].tolist() == pytest.approx([21.0, 30.4])
    assert part(frame, 'tiny', 'cascade').empty
    assert '100 (shortened)' in report.markdown(trial.tables['trial'], frame)


def test_a_report_shows_nothing_but_what_was_measured_or_quoted(trial, found):
    table = trial.tables['trial']
    text = re.sub(' +', ' ', report.markdown(table, summary(trial, found)))
    assert '| RCAN tiny | masks, SPD | sam fast, restored | 300,000 | 30.40 ± 0.25 (+0.30 ± 0.25) | 0.3040' in text
    assert '| RCAN tiny | shuffled masks, SPD + SGR | | | | | | | | |' in text
    assert 'quoted: A paper & its table_1' in text
    assert '| 1,234 | 5.5 | 250.0 ms | 3 |' in text
    assert 'Test images: Rain100L 3.' in text
    assert set(re.findall(r'\b[1-9]\d\.\d\d\b', text)) == {'36.00', '30.10', '30.40'}
    tex = report.latex(table, summary(trial, found))
    assert r'A paper \& its table\_1' in tex
    assert r'30.40 $\pm$ 0.25' in tex
    body = tex.split(r'\midrule')[1].split(r'\bottomrule')[0].strip().splitlines()
    assert {len(re.findall(r'(?<!\\)&', line)) for line in body} == {9}
    empty = report.markdown(table, summary(trial, []))
    assert set(re.findall(r'\b[1-9]\d\.\d\d\b', empty)) == {'36.00'}


def test_csv_holds_everything_at_full_precision(trial, found):
    rows = pd.read_csv(io.StringIO(report.csv_text(summary(trial, found))), dtype=str, keep_default_na=False)
    assert list(rows) == report.COLUMNS
    row = part(rows, 'tiny', 'spd').iloc[0]
    assert float(row['mean']) == pytest.approx(30.4, abs=1e-12)
    assert float(row['gain']) == pytest.approx(np.mean(np.subtract(SAPD, STOCK)), abs=1e-12)
    assert (row['seeds'], row['parameters'], row['protocol'], row['images']) == ('3', '1234', 'y', '3')
    assert row['as_published'] == 'True'
    quoted = part(rows, 'full', 'quoted').iloc[0]
    assert (quoted['mean'], quoted['seeds'], quoted['label']) == ('36.0', '', 'quoted: A paper & its table_1')


class Logs(Run):
    framework = 'basicsr'

    @staticmethod
    def read_log(folder, name):
        return Log({200: 21.0, 100: 20.0} if '_tiny_' in name else {})


def test_pictures_are_drawn(trial, found, tmp_path):
    cells = [
        Cell('basicsr', 'trial', 'RCAN', s, a, seed)
        for s in ('full', 'tiny')
        for a in ('stock', 'spd')
        for seed in (0, 1)
    ]
    (curves,) = draw_curves(tmp_path / 'trial', trial, Logs, cells, tmp_path)
    cost = draw_cost(tmp_path / 'cost.png', trial.tables['trial'], summary(trial, found))
    for path in (curves, cost):
        assert path.stat().st_size > 5000
    assert draw_cost(tmp_path / 'none.png', trial.tables['trial'], summary(trial, [])) is None


HEAD = 'framework,table,model,size,arm,seed,test,metric,value,protocol,quantise,sigma,images,finished,more\n'
LINE = 'basicsr,trial,RCAN,tiny,stock,{seed},Rain100L,{metric},{value},y,round,,3,{finished},\n'


def test_finished_cells_are_read_from_a_csv(tmp_path, trial):
    path, values = tmp_path / 'cells.csv', {'psnr': 30.1 + 1e-14, 'ssim': 0.9}
    lines = [
        LINE.format(seed=seed, metric=metric, value=value, finished=finished)
        for seed, finished in ((0, 'True'), (1, 'False'), (10, ''))
        for metric, value in values.items()
    ]
    path.write_text(HEAD + ''.join(lines))
    cells = read_finished(path)
    assert [cell.seed for cell in cells] == [0, 10]
    assert all(found.holds('Rain100L', trial.tables['trial']) for found in cells.values())
    assert cells[Cell('basicsr', 'trial', 'RCAN', 'tiny', 'stock', 0)].tests['Rain100L']['psnr'] == values['psnr']
    path.write_text(HEAD + LINE.format(seed=0, metric='psnr', value='high', finished=''))
    with pytest.raises(SAPDError, match=r"--done: .*cells.csv line 2, value: found 'high', expected a finite number"):
        read_finished(path)


def test_a_damaged_results_file_is_named(tmp_path, found):
    cell = found[0].cell
    path = cell.folder(tmp_path / 'runs') / 'results.json'
    path.write_text(path.read_text()[:50])
    with pytest.raises(SAPDError, match=r'results\.json: not a results file'):
        load(cell, tmp_path / 'runs')
