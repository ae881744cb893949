"""Random mistakes in the YAML of tables and data sets: one SAPDError each, or the value is one that is allowed."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import pytest
import yaml

from sapd_plugin.cli import reproduce
from sapd_plugin.datasets.manifest import FOLDER, dataset_names, read_manifest
from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import read_catalogue
from tests.experiments.recipes import MODELS, TABLE
from tests.fuzz.mistakes import mistaken

SEEDS = 12  # 100 were tried once
ARMS = {'mine': {'label': 'my arm', 'spf': {'fusion': 'map'}, 'spd': {}, 'masks': {'source': 'target'}, 'once': True}}
FILES = {
    'models.yml': MODELS,
    'arms.yml': ARMS,
    'trial.yml': {
        **TABLE,
        'arms': ['stock', 'mine'],
        'sigma': 25,
        'validation': 'Rain13K/val',
        'group': 'both',
        'models': {
            'RCAN': {
                **TABLE['models']['RCAN'],
                'set': {'basicsr': {'train.total_iter': 100}},
                'pretraining': {'basicsr': {'train.total_iter': 50}},
                'arms': ['stock', 'mine'],
                'time_factor': 2.0,
            }
        },
        'yardsticks': [{'model': 'RCAN', 'test': 'Rain100L', 'psnr': 36.0, 'ssim': 0.9, 'source': 'A paper'}],
    },
}


def write(folder: Path, name: str = '', seed: int = 0) -> str:
    """Write the three files, one of them with a mistake; return what it is."""
    what = ''
    folder.mkdir(exist_ok=True)
    for file, content in FILES.items():
        if file == name:
            what, content = mistaken(content, seed)
        (folder / file).write_text(yaml.dump(content), encoding='utf-8')
    return what


@pytest.mark.parametrize('name', FILES)
def test_a_mistake_in_a_definition_is_one_error(tmp_path, capsys, name):
    """Each allowed mistake is planned as well, as far as that needs no data: nothing is written outside the output."""
    refused = 0
    for seed in range(SEEDS):
        what = write(tmp_path / 'definitions', name, seed)
        for command in (['list', 'trial'], ['run', 'trial', '--framework', 'basicsr', '--dry-run']):
            places = ['--definitions', str(tmp_path / 'definitions'), '--output', str(tmp_path / 'out')]
            status = reproduce.main([*command, *places])
            printed = capsys.readouterr()
            assert status in (0, 2), what
            if status == 2:
                assert re.match(r'error: \S', printed.err), (what, printed.err)
                assert printed.err.count('\n') <= 3, (what, printed.err)
                refused += 1
            for path in re.findall(r'\(cd (\S+) ', printed.out):
                assert Path(path.strip("'")).resolve().is_relative_to(tmp_path / 'out'), what
    assert refused > SEEDS // 2
    assert {path.name for path in tmp_path.iterdir()} <= {'definitions', 'out'}


def test_the_files_without_a_mistake_are_read(tmp_path):
    write(tmp_path / 'definitions')
    found = read_catalogue(tmp_path / 'definitions')
    assert found.arms['mine'].spf == {'fusion': 'map'}
    assert found.tables['trial'].entries['RCAN'].time_factor == 2


def test_a_mistake_in_the_manifest_of_a_data_set_is_one_error(tmp_path):
    refused = 0
    for number, name in enumerate(dataset_names()):
        content = yaml.safe_load((FOLDER / f'{name}.yml').read_text(encoding='utf-8'))
        for seed in range(3):
            what, mistake = mistaken(content, 100 * number + seed)
            (tmp_path / 'own.yml').write_text(yaml.dump(mistake), encoding='utf-8')
            try:
                with contextlib.suppress(SAPDError):
                    refused += 1
                    manifest = read_manifest(tmp_path / 'own.yml')
                    refused -= 1
                    assert all(part.counts for parts in manifest.splits.values() for part in parts)
            except Exception as error:
                raise AssertionError(f'{name}: {what}') from error
    assert refused > 20
