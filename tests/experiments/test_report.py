"""Reports: means, intervals, paired gains; nothing that was not measured or quoted with its source."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pandas as pd
import pytest

from sapd_plugin.cli import reproduce
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.statistics import half_width
from sapd_plugin.experiments import report
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.pictures import draw_cost, draw_curves
from sapd_plugin.experiments.results import iter_results, load, read_finished
from sapd_plugin.experiments.run import Log, Run
from tests.experiments.recipes import catalogue, definitions, result

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
    assert 'by protocol y, rounded to 8 bits; mean over seeds' in text
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


def without(*keys):
    """Return a change of a results file that takes a nested key away."""

    def change(found):
        *parents, last = keys
        for key in parents:
            found = found[key]
        del found[last]

    return change


def changed(value, *keys):
    """Return a change of a results file that gives a nested key this value."""

    def change(found):
        *parents, last = keys
        for key in parents:
            found = found[key]
        found[last] = value

    return change


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (changed('spd', 'cell', 'arm'), r'cell\.arm: found "spd", expected "stock", as the file\'s folder says'),
        (changed('0', 'cell', 'seed'), r'cell\.seed: found "0", expected 0,'),
        (changed(False, 'cell', 'seed'), r'cell\.seed: found false, expected 0,'),
        (changed(1, 'cell', 'extra'), r'cell\.extra: found 1, expected no such key'),
        (without('cell', 'model'), r'cell\.model: found nothing, expected "RCAN"'),
        (changed([], 'cell'), r'found cell: \[\], expected \{"framework": "basicsr"'),
        (changed({}, 'test'), r"unknown key 'test'.*Did you mean 'tests'"),
        (
            changed(float('nan'), 'tests', 'Rain100L', 'psnr'),
            'found NaN, which is not a finite number; expected the re',
        ),
        (changed(float('-inf'), 'tests', 'Rain100L', 'ssim'), 'found -Infinity, which is not a finite number'),
        (changed('30.1', 'tests', 'Rain100L', 'psnr'), r'tests\[\.\.\.\]\.psnr: Expected `int \| float`, got `str`'),
        (changed(1.2, 'tests', 'Rain100L', 'ssim'), r'tests\[\.\.\.\]\.ssim: Expected `float` <= 1.001'),
        (changed(0, 'tests', 'Rain100L', 'images'), r'tests\[\.\.\.\]\.images: Expected `int` >= 1'),
        (without('tests', 'Rain100L', 'ssim'), 'tests.*missing required field `ssim`'),
        (changed([1], 'tests'), r'tests: Expected `object`, got `array`'),
        (changed(-1, 'training', 'iterations'), r'training\.iterations: Expected `int` >= 0'),
        (changed('yes', 'training', 'finished'), r'training\.finished: Expected `bool`, got `str`'),
        (changed({'l_spd': 'low'}, 'training', 'logged'), r'training\.logged\[\.\.\.\]: Expected'),
        (changed('fast', 'cost', 'milliseconds'), r'cost\.milliseconds: Expected'),
        (changed(2, 'made_with', 'torch'), r'made_with\[\.\.\.\]: Expected `str`, got `int`'),
    ],
)
def test_what_a_hand_has_changed_in_a_results_file_is_named(tmp_path, found, change, message, capsys):
    root = tmp_path / 'runs'
    path = found[3].cell.folder(root) / 'results.json'
    assert found[3].cell.arm == 'stock'
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    with pytest.raises(SAPDError, match=f'{re.escape(str(path))}: {message}'):
        list(iter_results(root))
    command = ['--output', str(root), '--definitions', str(tmp_path / 'definitions')]
    definitions(tmp_path / 'definitions')
    for name in ('list', 'report'):
        assert reproduce.main([name, *command]) == 2
        printed = capsys.readouterr().err
        assert re.search(message, printed)
        assert 'Correct the file, or delete it and run the cell again.' in printed


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'', 'results.json: Expecting value: line 1 column 1 .char 0.; expected the results of a cell'),
        (b'{"cell": {"framework": "bas', 'Unterminated string'),
        (b'[1, 2]', 'found a list, expected the results of a cell, which have the keys cell and training, tests'),
        (b'7', 'found a number, expected'),
        (b'null', 'found null, expected'),
        (b'\x89PNG\r\n\x1a\n', 'found the byte 0x89 in line 1, which is not UTF-8, expected the results of a cell'),
        (b'[' * 100_000, 'found lists in lists without end, expected the results of a cell'),
        (b'{"tests": {"a": {"psnr": 1e999}}}', 'found 1e999, which is not a finite number'),
    ],
)
def test_a_results_file_of_another_kind_is_named(tmp_path, found, content, message):
    path = found[0].cell.folder(tmp_path / 'runs') / 'results.json'
    path.write_bytes(content)
    with pytest.raises(SAPDError, match=f'{re.escape(str(path))}: .*' if message[0] == '.' else message):
        load(found[0].cell, tmp_path / 'runs')


def test_a_folder_that_is_not_one_of_a_cell_is_named(tmp_path, found):
    folder = found[0].cell.folder(tmp_path / 'runs')
    folder.rename(folder.with_name('0 (copy)'))
    with pytest.raises(
        SAPDError, match=r"found '0 \(copy\)' as the seed, expected FRAMEWORK/TABLE/MODEL/SIZE/ARM/SEED"
    ):
        list(iter_results(tmp_path / 'runs'))


def test_values_that_are_not_finite_are_saved_as_null(tmp_path):
    made = result(tmp_path, 'spd', 0, 30.0, logged={'l_spd': float('nan'), 'l_spf': 0.5, 'steps': 3})
    logged = load(made.cell, tmp_path).training['logged']
    assert logged == {'l_spd': None, 'l_spf': 0.5, 'steps': 3}


def test_results_of_an_arm_that_no_definition_has_are_left_out(trial, tmp_path, found, capsys):
    result(tmp_path / 'runs', 'spdx', 0, 50.0)
    definitions(tmp_path / 'definitions')
    command = ['report', '--output', str(tmp_path / 'runs'), '--definitions', str(tmp_path / 'definitions')]
    assert reproduce.main(command) == 0
    printed = capsys.readouterr()
    assert 'trial_basicsr.md' in printed.out
    assert 'trial/RCAN/tiny/spdx/0: measured, but not in the definitions' in printed.err


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (b'\x89PNG\r\n\x1a\n', 'found the byte 0x89 in line 1, which is not UTF-8, expected a CSV'),
        (b'a,b\n\xff,1\n', 'found the byte 0xff in line 2, which is not UTF-8'),
        (b'', 'found no lines, expected one with column names'),
        (b'a,b\n1\n', 'line 2: found 1 values, expected 2'),
        (b'"' + b'a' * 200_000 + b'",b\n1,2\n', 'field larger than field limit'),
        (b'a\x00,b\n1,2\n', 'found no column framework'),
        (
            HEAD.encode() + LINE.format(seed='0x1', metric='psnr', value=1, finished='').encode(),
            "seed: found '0x1', exp",
        ),
        (
            HEAD.encode() + LINE.format(seed=0, metric='psnr', value='0x1', finished='').encode(),
            "value: found '0x1', ex",
        ),
        (HEAD.encode() + LINE.format(seed=0, metric='psnr', value='1e999', finished='').encode(), "found '1e999', exp"),
        (
            HEAD.encode() + LINE.format(seed=0, metric='psnr', value='1_0', finished='').encode(),
            "found '1_0', expected",
        ),
    ],
)
def test_a_csv_of_another_kind_is_named(tmp_path, content, message):
    path = tmp_path / 'cells.csv'
    path.write_bytes(content)
    with pytest.raises(SAPDError, match=f'--done: .*cells.csv.*{message}'):
        read_finished(path)


def test_a_csv_with_the_mark_of_a_text_editor_is_read(tmp_path):
    path = tmp_path / 'cells.csv'
    text = HEAD + LINE.format(seed=0, metric='psnr', value=30.5, finished='')
    path.write_bytes(b'\xef\xbb\xbf' + text.replace('\n', '\r\n').encode())
    (found,) = read_finished(path).values()
    assert found.tests['Rain100L']['psnr'] == 30.5


@pytest.mark.parametrize(
    ('mean', 'half', 'form', 'bounds', 'expected'),
    [
        (0.95, 0.02, '.4f', (-1, 1), '0.9500 ± 0.0200'),
        (0.95, 0.08, '.4f', (-1, 1), '0.9500 [0.8700, 1.0000]'),
        (0.95, 3.2, '.4f', (-1, 1), '0.9500 [-1.0000, 1.0000]'),
        (30.0, 95.0, '.2f', (0, np.inf), '30.00 [0.00, 125.00]'),
        (0.5, 3.0, '+.4f', (-2, 2), '+0.5000 [-2.0000, +2.0000]'),
        (30.0, np.nan, '.2f', (0, np.inf), '30.00'),
        (np.nan, np.nan, '.2f', (0, np.inf), ''),
    ],
)
def test_an_interval_does_not_reach_beyond_what_is_possible(mean, half, form, bounds, expected):
    assert report._interval(mean, half, form, *bounds) == expected
