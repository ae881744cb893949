"""Results are collected into the study's CSVs at full precision, and nothing else in them changes."""

from __future__ import annotations

import csv
import json
import shutil

import pytest

from sapd_plugin.experiments.catalogue import read_catalogue
from sapd_plugin.experiments.results import read_finished
from studies.sam_priors import collect
from studies.sam_priors.build import FOLDER
from studies.sam_priors.measurements import PLACE

CELL = 'basicsr/mini_derain/NAFNet-w8/full/spd_sgr/0'


def rows_of(name):
    with (FOLDER / f'results/{name}.csv').open(encoding='utf-8', newline='') as file:
        return list(csv.DictReader(file))


def results_json(rows):
    """Return a cell's results as they were before their rows were written."""
    known = {
        name: rows[0]['training_seconds' if name == 'seconds' else name] for n in collect.PARTS.values() for name in n
    }
    shape = known.pop('shape')
    found = {
        part: {name: value_of(name, known[name]) for name in names if known.get(name)}
        for part, names in collect.PARTS.items()
    }
    if shape:
        found['cost']['shape'] = [int(length) for length in shape.split('x')]
    found['cell'] = {key: int(rows[0][key]) if key == 'seed' else rows[0][key] for key in PLACE}
    found['tests'] = {
        row['test']: {name: value_of(name, row[name]) if row[name] else None for name in collect.TEST} for row in rows
    }
    for row in rows:
        found['tests'][row['test']][row['metric']] = float(row['value'])
    for name, value in json.loads(rows[0]['more'] or '{}').items():
        part, _, key = name.partition('.')
        found[part][key] = value
    return found


def value_of(name, text):
    """Return the number or bool that a CSV's text stands for; a name, a version or a digest stays text."""
    if name in (*collect.PARTS['made_with'], 'masks', 'checkpoint', 'sha256', 'device', 'protocol', 'quantise'):
        return text
    return json.loads(text.lower())


@pytest.fixture(scope='module')
def runs(tmp_path_factory):
    """The folders of the study's cells, as they were when the committed CSVs were collected."""
    root, cells = tmp_path_factory.mktemp('runs'), {}
    for row in rows_of('cells'):
        cells.setdefault('/'.join(row[key] for key in PLACE), []).append(row)
    for place, rows in cells.items():
        (root / place).mkdir(parents=True)
        (root / place / 'results.json').write_text(json.dumps(results_json(rows)))
    for name, file, first in (('teacher', 'teacher/teacher.csv', 6), ('segmentation', 'segmentation/{}/images.csv', 7)):
        for row in rows_of(name):
            path = root / '/'.join(row[key] for key in PLACE) / file.format(row.get('test'))
            path.parent.mkdir(parents=True, exist_ok=True)
            columns = [key for key in list(row)[first:] if key != 'commit']
            if not path.exists():
                path.write_text(','.join('arm' if key == 'photos' else key for key in columns) + '\n')
            with path.open('a') as lines:
                lines.write(','.join(row[key] for key in columns) + '\n')
    return root


def test_a_trial_of_masks_becomes_rows_of_the_student_that_made_y(tmp_path):
    place = {'framework': 'basicsr', 'table': 'noise50_converged', 'model': 'FFDNet-w32', 'size': 'full'}
    place |= {'arm': 'pretraining', 'seed': 0}
    folder = tmp_path / 'runs' / '/'.join(map(str, place.values()))
    (folder / 'trial').mkdir(parents=True)
    (folder / 'results.json').write_text(json.dumps({'cell': place, 'training': {'finished': True}}))
    lines = ['arm,seed,masks,photo,gain,whole', 'cascade,0,own,101085,0.5,0.25', 'clean,1,shuffled,101085,0.625,0.125']
    (folder / 'trial/trial.csv').write_text('\n'.join(lines))
    arguments = ['--output', str(tmp_path / 'runs'), '--tables', 'noise50*', '--results', str(tmp_path / 'results')]
    assert collect.main(arguments) == collect.main(arguments) == 0
    with (tmp_path / 'results/trial.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    keys = ['table', 'arm', 'seed', 'trained with', 'trial', 'masks', 'photo', 'gain', 'whole']
    assert [[row[key] for key in keys] for row in rows] == [
        ['noise50_converged', 'pretraining', '0', 'cascade', '0', 'own', '101085', '0.5', '0.25'],
        ['noise50_converged', 'pretraining', '0', 'clean', '1', 'shuffled', '101085', '0.625', '0.125'],
    ]


@pytest.fixture
def results(tmp_path):
    return shutil.copytree(FOLDER / 'results', tmp_path / 'results')


def run(runs, results, *more):
    return collect.main(['--output', str(runs), '--results', str(results), *more])


def test_a_round_trip_changes_no_byte(runs, results, tmp_path, monkeypatch, capsys):
    assert run(runs, results, '--tables', '*') == 0
    assert '0 of them new; 0 are not finished' in capsys.readouterr().out
    monkeypatch.setattr(collect, 'made_with', lambda: {'commit': rows_of('teacher')[0]['commit']})
    assert run(runs, tmp_path / 'empty', '--tables', '*') == 0
    for name in ('cells', 'teacher', 'segmentation'):
        committed = (FOLDER / f'results/{name}.csv').read_bytes()
        assert (results / f'{name}.csv').read_bytes() == committed
        assert (tmp_path / f'empty/{name}.csv').read_bytes() == committed


def test_cells_that_were_measured_again_replace_their_rows_and_no_others(runs, results, tmp_path, monkeypatch):
    own = tmp_path / 'runs'
    shutil.copytree(runs / CELL, own / CELL)
    found = json.loads((own / CELL / 'results.json').read_text())
    found['tests']['Rain100L']['psnr'] = 1 / 3
    found['made_with']['commit'] = 'new'
    (own / CELL / 'results.json').write_text(json.dumps(found))
    path = own / CELL / 'segmentation/Rain100L/images.csv'
    path.write_text(path.read_text().replace('0.7473727315087471', '0.5'))
    monkeypatch.setattr(collect, 'made_with', lambda: {'commit': 'new'})
    unfinished = own / CELL.replace('spd_sgr/0', 'spd_sgr/1')
    unfinished.mkdir()
    (unfinished / 'results.json').write_text(
        json.dumps({**found, 'cell': {**found['cell'], 'seed': 1}, 'training': {'finished': False}})
    )
    assert run(own, results) == 0
    for name, changed in (('cells', 4), ('segmentation', 400), ('teacher', 0)):
        old, new = ((folder / f'{name}.csv').read_text().splitlines() for folder in (FOLDER / 'results', results))
        assert len(old) == len(new)
        different = [line for line in new if line not in old]
        assert len(different) == changed
        assert all(line.startswith(CELL.replace('/', ',')) and 'new' in line for line in different)
    assert sum(f',psnr,{1 / 3!r},' in line for line in (results / 'cells.csv').read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ('name', 'content', 'message'),
    [
        ('results.json', '{"cell": 1}', 'results.json: found cell: 1, expected {"framework": "basicsr"'),
        (
            'segmentation/Rain100L/images.csv',
            'arm,image,colour\nsapd,001,red\n',
            'found the columns arm, image, colour',
        ),
        ('teacher/teacher.csv', 'image,psnr_z\n001,30\n', 'found no column kind'),
    ],
)
def test_a_broken_file_is_refused_by_name(runs, results, tmp_path, capsys, name, content, message):
    own = tmp_path / 'runs'
    shutil.copytree(runs / CELL, own / CELL)
    (own / CELL / name).parent.mkdir(exist_ok=True)
    (own / CELL / name).write_text(content)
    assert run(own, results) == 2
    error = capsys.readouterr().err
    assert str(own / CELL / name) in error
    assert message in error


def test_a_csv_with_other_columns_is_refused_and_stays(runs, results, capsys):
    path = results / 'cells.csv'
    path.write_text(path.read_text().replace(',torch,', ',pytorch,', 1))
    before = path.read_bytes()
    assert run(runs, results) == 2
    assert 'pytorch' in capsys.readouterr().err
    assert path.read_bytes() == before


def test_a_folder_without_results_is_refused(results, tmp_path, capsys):
    assert run(tmp_path, results) == 2
    assert "found no results of tables 'mini*'" in capsys.readouterr().err


def test_the_csv_holds_every_cell_of_the_tables_that_answer_the_question():
    catalogue, done = read_catalogue(FOLDER / 'tables'), read_finished(FOLDER / 'results/cells.csv')
    tables = catalogue.select('mini')
    assert {table.name for table in tables} == {'mini_derain', 'mini_denoise', 'mini_deblur', 'mini_people'}
    for table in tables:
        for cell in catalogue.cells(table, 'basicsr'):
            assert all(done[cell].holds(test, table) for test in table.tests), cell
