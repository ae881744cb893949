"""Names of users that become paths: one check, wherever a name may lead out of its folder."""

from __future__ import annotations

import re

import pytest
import yaml

from sapd_plugin.cli import evaluate_segmentation, prepare_dataset
from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import read_catalogue
from sapd_plugin.names import check_name
from tests.experiments.recipes import TABLE, catalogue, definitions

PATHS = ('../../x', '..', '.', 'a/b', '/tmp/x', 'a\\b', '~', 'a:b', '', ' a', 'a.', '.hidden', 'x' * 101, 'a\nb')


@pytest.mark.parametrize('name', [*PATHS, 'CON', 'con', 'nul.txt', 'COM1', 7, None])
def test_what_is_not_the_name_of_one_file_is_refused(name):
    with pytest.raises(SAPDError, match=f'^--name: found {re.escape(repr(name))}, expected '):
        check_name('--name', name)


@pytest.mark.parametrize(
    'name', ['a', 'SPD x 10', 'NAFNet-w8', 'Rain100L', 'sam2.1', 'a_b+c', 'Zürich', '0', 'CONV', 'x' * 100]
)
def test_a_name_of_a_file_passes(name, tmp_path):
    check_name('--name', name)
    (tmp_path / name).write_text('')
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_network_may_be_called_as_a_device():
    assert 'PRN' in read_catalogue().models
    check_name('models.yml', 'PRN', portable=False)


@pytest.mark.parametrize('name', ['../../x', 'a/b', '..', 'CON'])
def test_the_name_of_synthetic_pairs_stays_below_the_output(tmp_path, capsys, name):
    (tmp_path / 'photos').mkdir()
    command = ['--synthetic', 'rain', '--source', str(tmp_path / 'photos'), '--output', str(tmp_path / 'out' / 'data')]
    assert prepare_dataset.main([*command, '--name', name]) == 2
    assert f'error: --name: found {name!r}, expected' in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ['photos']


@pytest.mark.parametrize('name', ['../../x', 'a/b', '..', 'CON'])
def test_an_arm_of_the_segmentation_stays_below_the_output(tmp_path, capsys, name):
    command = ['--clean', str(tmp_path), '--restored', f'{name}={tmp_path}', '--segmenter', 'felzenszwalb']
    assert evaluate_segmentation.main([*command, '--output', str(tmp_path / 'out')]) == 2
    assert f"error: --restored: '{name}={tmp_path}': found {name!r}, expected" in capsys.readouterr().err


@pytest.mark.parametrize('name', ['../../x', 'a/b', 'CON'])
def test_names_in_a_table_stay_below_the_output(tmp_path, name):
    found = re.escape(repr(name))
    with pytest.raises(SAPDError, match=f'^trial.yml tests: found {found}, expected'):
        catalogue(tmp_path, tests={name: 'Rain13K/test/Rain100L'}, yardsticks=[])
    folder = definitions(tmp_path / 'own')
    for block, message in (
        ({name: {'label': 'x'}}, f'^arms.yml: found {found}, expected'),
        ({'x': {'label': 'x', 'name': name}}, f"^arms.yml x.name: found {found}, expected 'x' or no such key"),
        ({'x': {'label': 'x', 'masks': {'segmenter': name}}}, f'^arms.yml x.masks.segmenter: found {found}, expected'),
    ):
        (folder / 'arms.yml').write_text(yaml.safe_dump(block))
        with pytest.raises(SAPDError, match=message):
            read_catalogue(folder)
    (folder / 'arms.yml').unlink()
    (folder / 'other.yml').write_text(yaml.safe_dump({**TABLE, 'name': name}))
    with pytest.raises(SAPDError, match=f"^other.yml.name: found {found}, expected 'other'"):
        read_catalogue(folder)
