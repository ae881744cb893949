"""Results in one CSV: nothing is lost on the way, and new measurements take the place of old ones."""

from __future__ import annotations

import csv

import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.collected import COLUMNS, finished, merge, read, write
from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.summary import rows
from tests.experiments.recipes import catalogue
from tests.studies.study_recipes import arms, made_up

STOCK, SPD = [30.1, 30.2, 30.1 + 1e-15], [30.3, 30.4, 1 / 3]


@pytest.fixture
def path(tmp_path):
    return tmp_path / 'study' / 'cells.csv'


def test_results_come_back_as_they_were(path):
    found = arms(spd=SPD, stock=STOCK)
    found[0].cost['over_stock'] = 1.001
    found[1].training['vgg'] = {'layers': [1, 2]}  # a key of a later version
    found[2].tests['val']['sigma'] = 25.0
    found.append(Results(Cell('mmagic', 'gopro', 'X', 'full', 'published', 0), {'checkpoint': 'x.pth'}, found[0].tests))
    write(path, found)
    assert sorted(read(path), key=str) == sorted(found, key=str)
    text = path.read_text()
    write(path, reversed(read(path)))
    assert path.read_text() == text
    assert not path.with_name('cells.csv.tmp').exists()


def test_a_line_holds_value_settings_and_commit(path):
    write(path, arms(spd=SPD))
    with path.open() as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == COLUMNS
    assert [(line['seed'], line['metric']) for line in lines] == [(s, m) for s in '012' for m in ('psnr', 'ssim')]
    line = lines[4]
    assert float(line['value']) == 1 / 3
    expected = {
        'table': 'mini_derain',
        'arm': 'spd',
        'iterations': '300',
        'protocol': 'y',
        'quantise': 'round',
        'images': '3',
        'masks': 'sam fast, restored',
        'training_seconds': '12.5',
        'macs': '5500000',
        'shape': '1x3x256x256',
        'commit': 'abcdef0123456789',
        'torch': '2.5.1',
    }
    assert {key: line[key] for key in expected} == expected


def test_seeds_are_sorted_as_numbers(path):
    write(path, [made_up('mini_derain', 'stock', seed, 30.0) for seed in (10, 9)])
    assert [r.cell.seed for r in read(path)] == [9, 10]


def test_a_cell_measured_anew_replaces_its_lines_and_no_other(path):
    assert merge(path, arms(stock=STOCK, spd=SPD)) == (6, 6)
    anew = made_up('mini_derain', 'spd', 1, 35.0, tests=('other',))
    unfinished = made_up('mini_derain', 'spd', 2, 99.0, finished=False)
    untested = made_up('mini_derain', 'spd', 0, 99.0, tests=())
    assert merge(path, [anew, unfinished, untested]) == (1, 0)
    after = finished(path)
    assert len(after) == 6
    assert after[anew.cell] == anew
    assert after[unfinished.cell].tests['val']['psnr'] == 1 / 3


def test_rows_of_reports_work_from_the_csv(path, tmp_path):
    trial = catalogue(tmp_path / 'definitions')
    found = [
        made_up('trial', arm, seed, psnr, tests=('Rain100L',))
        for arm, values in {'stock': STOCK, 'spd': [31.0, 31.1, 31.2]}.items()
        for seed, psnr in enumerate(values)
    ]
    write(path, found)
    table = trial.tables['trial']
    assert list(rows(trial, table, 'basicsr', read(path))) == list(rows(trial, table, 'basicsr', found))
    (row,) = [row for row in rows(trial, table, 'basicsr', read(path)) if (row.size, row.arm) == ('tiny', 'spd')]
    assert row.gains['Rain100L', 'psnr'].mean == pytest.approx(31.1 - sum(STOCK) / 3)
    assert all(results.holds('Rain100L', table) for results in finished(path).values())


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda text: text.replace('value', 'valeu', 1), 'has no column value'),
        (lambda text: text.replace('more\n', 'more,extra\n', 1), "unknown key 'extra'"),
        (lambda text: text + text.splitlines()[-1] + '\n', 'was there before'),
        (lambda text: text.replace(',30.1,', ',high,'), 'line 2: could not convert'),
        (lambda text: text.replace('False', 'Flase', 1), "found 'Flase', expected True or False"),
        (lambda text: text + 'basicsr,mini_derain\n', 'another number of values'),
        (lambda text: text.replace(',300,', ',400,', 1), 'differs from another line'),
    ],
)
def test_a_damaged_file_is_refused_with_its_place(path, change, message):
    write(path, arms(stock=STOCK))
    path.write_text(change(path.read_text()))
    with pytest.raises(SAPDError, match=message):
        read(path)


def test_a_file_that_is_not_there_is_refused(path):
    with pytest.raises(SAPDError, match='found no file'):
        finished(path)
