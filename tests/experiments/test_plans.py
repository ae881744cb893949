"""Every cell of every shipped table has its configs: what is asked for is in them, and nothing of another cell."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

from sapd_plugin.experiments.basicsr import BasicSR
from sapd_plugin.experiments.catalogue import Cell, read_catalogue
from sapd_plugin.experiments.definitions import FRAMEWORKS, PRETRAINING
from sapd_plugin.experiments.framework import Evaluation, Launch
from sapd_plugin.experiments.mmagic import MMagic
from sapd_plugin.experiments.plan import chain
from sapd_plugin.experiments.run import Recipes
from sapd_plugin.experiments.settings import Settings
from tests.experiments.recipes import catalogue

CATALOGUE = read_catalogue()
SIDES = {'basicsr': BasicSR(), 'mmagic': MMagic()}
PLACES = [
    (framework, table.name, model)
    for table in CATALOGUE.tables.values()
    for model, entry in table.entries.items()
    for framework in FRAMEWORKS
    if framework in entry.configs
]


def recipes_of(framework: str, table: str, root: Path, **changes: object) -> Recipes:
    settings = Settings(
        root=root, data=Path('/photos'), checkpoints=Path('/authors'), launch=Launch(2), cuda=True, **changes
    )
    return Recipes(CATALOGUE, CATALOGUE.tables[table], SIDES[framework], settings)


def read(framework: str, text: str) -> dict:
    return yaml.safe_load(text) if framework == 'basicsr' else Config.fromstring(text, '.py').to_dict()


@pytest.mark.parametrize(('framework', 'name', 'model'), PLACES)
def test_training_and_test_of_each_size(framework, name, model, tmp_path):
    table, side = CATALOGUE.tables[name], SIDES[framework]
    recipes = recipes_of(framework, name, tmp_path)
    cells = [c for c in CATALOGUE.cells(table, framework) if (c.model, c.seed) == (model, 1)]
    for cell in (c for c in cells if c.arm in ('stock', 'shuffled')):
        training = recipes.training(cell)
        text = side.training(training)
        config = read(framework, text)
        basicsr = framework == 'basicsr'
        network = config['network_g'] if basicsr else config['model']['generator']
        assert network['type'] in CATALOGUE.models[model].type[framework]
        for key, value in CATALOGUE.models[model].overrides(cell.size, framework).items():
            assert network[key] == value
        assert (config['manual_seed'] if basicsr else config['randomness']['seed']) == 1
        train = config['datasets']['train'] if basicsr else config['train_dataloader']
        batch = train['batch_size_per_gpu' if basicsr else 'batch_size']
        assert batch * 2 == side.batch(training.stock) * table.entries[model].gpus
        data = train if basicsr else train['dataset']
        folder = data['dataroot_gt' if basicsr else 'data_root']
        assert folder.startswith(f'/photos/{table.train}/')
        assert ('mask_store' in data) == (cell.arm == 'shuffled')
        assert data.get('mask_shuffle') == (1 if cell.arm == 'shuffled' else None)
        assert 'datasets/' not in text.replace('/photos', '')
        if table.sigma is not None:
            found = [data.get('sigma')] if basicsr else [t['sigma'] for t in data['pipeline'] if 'sigma' in t]
            assert len(found) == 1
            assert found[0] == table.sigma or list(found[0]) == [0, 55]  # the blind DnCNN
            assert network.get('sigma', table.sigma) == table.sigma
        path = tmp_path / f'train{side.suffix}'
        path.write_text(text)
        for test_set in recipes.test_sets[:1]:
            tested = read(framework, side.testing(path, Evaluation(test_set, Path('student.pth'))))
            assert (tested['network_g'] if basicsr else tested['model']['generator']) == network
            assert 'SAPD' not in (tested['model_type'] if basicsr else tested['model']['type'])
            assert 'mask' not in str(tested)
            metrics = list(tested['val']['metrics'].values()) if basicsr else tested['test_evaluator']
            assert {metric['protocol'] for metric in metrics} == {table.protocol}


def test_floor_is_kept_apart_from_round(tmp_path):
    for name, expected in (('rain100l', 'floor'), ('rain13k', 'round')):
        for framework, side in SIDES.items():
            recipes = recipes_of(framework, name, tmp_path)
            cell = next(iter(CATALOGUE.cells(CATALOGUE.tables[name], framework)))
            path = tmp_path / f'{name}{side.suffix}'
            path.write_text(side.training(recipes.training(cell)))
            config = read(framework, side.testing(path, Evaluation(recipes.test_sets[0], Path('student.pth'))))
            if framework == 'basicsr':
                assert (config['model_type'] == 'FloorSRModel') == (expected == 'floor')
            else:
                assert {metric['quantise'] for metric in config['test_evaluator']} == {expected}


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_a_shortened_training_keeps_the_shape_of_its_schedule(framework, tmp_path):
    recipes = recipes_of(framework, 'rain100l', tmp_path, iterations=334)
    config = read(
        framework,
        SIDES[framework].training(recipes.training(Cell(framework, 'rain100l', 'PReNet', 'full', 'stock', 0))),
    )
    if framework == 'basicsr':
        train = config['train']
        assert train['total_iter'] == 334
        assert train['scheduler']['milestones'] == [100, 167, 267]
        assert config['val']['val_freq'] == 50
    else:
        assert config['train_cfg']['max_iters'] == 334
        assert config['param_scheduler']['milestones'] == [100, 167, 267]
        assert config['train_cfg']['val_interval'] <= 334


def test_all_arms_start_from_one_pretrained_student(tmp_path):
    recipes = recipes_of('basicsr', 'mini_denoise', tmp_path)
    cells = list(CATALOGUE.cells(recipes.table, 'basicsr'))
    own = [cell for cell in cells if cell.model == 'HINet-w8']
    assert [cell.seed for cell in own if cell.arm == PRETRAINING] == [0]
    assert [cell.seed for cell in own if cell.arm == 'stock'] == [0, 1, 2]

    first = read('basicsr', SIDES['basicsr'].training(recipes.training(own[0])))
    assert own[0].arm == PRETRAINING
    assert first['path']['pretrain_network_g'] is None
    assert (first['train']['total_iter'], first['train']['optim_g']['lr']) == (2000, 5e-3)
    for cell in own[1:]:
        config = read('basicsr', SIDES['basicsr'].training(recipes.training(cell)))
        start = own[0].folder(tmp_path) / 'CHECKPOINT'
        assert (config['path']['pretrain_network_g'], config['path']['param_key_g']) == (str(start), 'params_ema')
        assert (config['train']['total_iter'], config['train']['optim_g']['lr']) == (1000, 2e-3)
        assert config['train'].get('sapd_opt') == (None if cell.arm == 'stock' else {'stage': 'two_stage'})

    tasks = list(chain(recipes, own[-1]))
    config = own[0].folder(tmp_path) / 'train.yml'
    config.parent.mkdir(parents=True)
    config.write_text(yaml.safe_dump(first))
    student = config.parent / f'experiments/{first["name"]}/models/net_g_latest.pth'
    student.parent.mkdir(parents=True)
    student.touch()
    (last,) = [task for task in tasks if task.title == f'train mini_denoise/{own[-1]}']
    last.prepare()  # planned before the student was there
    assert read('basicsr', (last.folder / 'train.yml').read_text())['path']['pretrain_network_g'] == str(student)

    titles = [task.title for task in tasks]
    assert [task.total for task in chain(recipes, own[-1]) if 'train' in task.title] == [2000, 2000, 1000]
    assert [title.removeprefix('train mini_denoise/') for title in titles if 'train' in title] == [
        'NAFNet-w8/full/pretraining/0',  # restores what is cut
        'HINet-w8/full/pretraining/0',
        f'HINet-w8/full/{own[-1].arm}/2',
    ]


def test_mmagic_starts_from_the_pretrained_student(tmp_path):
    entry = {'mmagic': 'derain/restormer_rain13k_stock.py', 'pretraining': {'mmagic': {'train_cfg.max_iters': 8}}}
    found = catalogue(
        tmp_path / 'tables', arms=[PRETRAINING, 'stock', 'spd'], models={'Restormer': entry}, yardsticks=[]
    )
    settings = Settings(root=tmp_path, data=Path('/photos'), checkpoints=Path('/authors'), launch=Launch())
    recipes = Recipes(found, found.tables['trial'], SIDES['mmagic'], settings)
    first, stock, spd = (
        read('mmagic', SIDES['mmagic'].training(recipes.training(Cell('mmagic', 'trial', 'Restormer', 'tiny', arm, 0))))
        for arm in (PRETRAINING, 'stock', 'spd')
    )
    assert first['train_cfg']['max_iters'] == 8 != stock['train_cfg']['max_iters']
    assert first.get('load_from') is None
    assert (
        stock['load_from'] == spd['load_from'] == str(tmp_path / 'mmagic/trial/Restormer/tiny/pretraining/0/CHECKPOINT')
    )
    assert spd['model']['stage'] == 'two_stage'
    assert 'stage' not in stock['model']


@pytest.mark.parametrize(('table', 'resumes'), [('rain100l', True), ('mini_derain', False)])
def test_where_seeds_are_paired_an_interrupted_training_begins_anew(table, resumes, tmp_path):
    recipes = recipes_of('basicsr', table, tmp_path)
    cell = next(c for c in CATALOGUE.cells(recipes.table, 'basicsr') if c.arm == 'stock')
    (task,) = (t for t in chain(recipes, cell) if t.title == f'train {recipes.name(cell)}')
    task.prepare()
    assert '--auto_resume' not in task.command()
    states = task.folder / 'experiments' / recipes.training(cell).name / 'training_states'
    states.mkdir(parents=True)
    (states / '200.state').touch()
    assert ('--auto_resume' in task.command()) == resumes
