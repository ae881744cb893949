"""Every cell of every shipped table has its configs: what is asked for is in them, and nothing of another cell."""

from __future__ import annotations

import dataclasses
import os
import shlex
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from msgspec.structs import replace

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import Cell, read_catalogue
from sapd_plugin.experiments.config_changes import get_key
from sapd_plugin.experiments.definitions import FRAMEWORKS, PRETRAINING, Launch, Settings
from sapd_plugin.experiments.plan import Resolver, load_framework, plan
from sapd_plugin.experiments.tasks import MaskTask, TrainTask
from tests.experiments.recipes import TABLE, catalogue
from tests.photos import ROOT

CATALOGUE = read_catalogue(ROOT / 'studies/sam_priors/tables')  # with the shipped ones
PLACES = [
    (framework, table.name, model)
    for table in CATALOGUE.tables.values()
    for model, entry in table.entries.items()
    for framework in FRAMEWORKS
    if framework in entry.configs
]
LONG = {'basicsr': {'train.total_iter': 2000, 'train.scheduler.periods': [2000]}, 'mmagic': {'train_cfg.max_iters': 8}}
STARTED = {
    'RCAN': {'basicsr': 'derain/rcan_rain13k_stock.yml', 'pretraining': LONG, 'time_factor': 4.5},
    'Restormer': {
        'basicsr': 'derain/restormer_rain13k_stock.yml',
        'mmagic': 'derain/restormer_rain13k_stock.py',
        'pretraining': LONG,
    },
}


def resolver_of(framework: str, root: Path, found=CATALOGUE, **changes: object) -> Resolver:
    settings = Settings(
        root=root, data=Path('/photos'), checkpoints=Path('/authors'), launch=Launch(2), cuda=True, **changes
    )
    return Resolver(found, load_framework(framework), settings)


def read(framework: str, text: str) -> dict:
    return yaml.safe_load(text) if framework == 'basicsr' else Config.fromstring(text, '.py').to_dict()


def pretrained(framework: str, root: Path) -> Resolver:
    """Of a table whose trainings start from a pretrained student, and whose masks are of what RCAN restores."""
    arms = [PRETRAINING, 'stock', 'stock_longer', 'spd']
    changes = {'arms': arms, 'models': STARTED, 'yardsticks': [], 'group': 'both'}
    if framework == 'basicsr':
        alone = {name: {key: entry[key] for key in entry if key != 'mmagic'} for name, entry in STARTED.items()}
        changes |= {'mask_provider': 'RCAN', 'models': alone}
    return resolver_of(framework, root, catalogue(root / 'tables', **changes))


@pytest.mark.parametrize(('framework', 'name', 'model'), PLACES)
def test_training_and_test_of_each_size(framework, name, model, tmp_path):
    table, resolver, basicsr = CATALOGUE.tables[name], resolver_of(framework, tmp_path), framework == 'basicsr'
    cells = [c for c in CATALOGUE.cells(table, framework) if (c.model, c.seed) == (model, table.seeds[-1])]
    priors = 'shuffled' if 'shuffled' in table.arms else 'spd_sgr'
    for run in (resolver.run(cell) for cell in cells if cell.arm in ('stock', priors)):
        text = run.text
        config = read(framework, text)
        network = config['network_g'] if basicsr else config['model']['generator']
        assert network['type'] in CATALOGUE.models[model].types[framework]
        for key, value in CATALOGUE.models[model].overrides(run.cell.size, framework).items():
            assert network[key] == value
        assert (config['manual_seed'] if basicsr else config['randomness']['seed']) == table.seeds[-1]
        train = config['datasets']['train'] if basicsr else config['train_dataloader']
        batch = train['batch_size_per_gpu' if basicsr else 'batch_size']
        assert batch * 2 == get_key(run.stock, run.batch_key, 'stock') * table.entries[model].gpus
        data = train if basicsr else train['dataset']
        assert data['dataroot_gt' if basicsr else 'data_root'].startswith(f'/photos/{table.train}/')
        assert ('mask_store' in data) == run.arm.has_priors
        assert data.get('mask_shuffle') == (1 if run.cell.arm == 'shuffled' else None)
        assert 'datasets/' not in text.replace('/photos', '')
        if table.sigma is not None:
            found = [data.get('sigma')] if basicsr else [t['sigma'] for t in data['pipeline'] if 'sigma' in t]
            assert len(found) == 1
            assert found[0] == table.sigma or list(found[0]) == [0, 55]  # the blind DnCNN
            assert network.get('sigma', table.sigma) == table.sigma
        tested = read(framework, run.dump(run.test_options(run.test_sets[0])))
        assert (tested['network_g'] if basicsr else tested['model']['generator']) == network
        assert 'SAPD' not in (tested['model_type'] if basicsr else tested['model']['type'])
        assert 'mask' not in str(tested)
        metrics = list(tested['val']['metrics'].values()) if basicsr else tested['test_evaluator']
        assert {metric['protocol'] for metric in metrics} == {table.protocol}
        if basicsr:
            assert (tested['model_type'] == 'FloorSRModel') == (table.quantise == 'floor')
        else:
            assert {metric['quantise'] for metric in metrics} == {table.quantise}


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_a_shortened_training_keeps_the_shape_of_its_schedule(framework, tmp_path):
    run = resolver_of(framework, tmp_path, iterations=334).run(
        Cell(framework, 'rain100l', 'PReNet', 'full', 'stock', 0)
    )
    config = read(framework, run.text)
    assert (run.iterations, run.published_iterations > 334) == (334, True)
    if framework == 'basicsr':
        assert config['train']['total_iter'] == 334
        assert config['train']['scheduler']['milestones'] == [100, 167, 267]
        assert config['val']['val_freq'] == 50
    else:
        assert config['train_cfg']['max_iters'] == 334
        assert config['param_scheduler']['milestones'] == [100, 167, 267]
        assert config['train_cfg']['val_interval'] <= 334


@pytest.mark.parametrize('resume', [True, False])
@pytest.mark.parametrize(
    ('framework', 'model', 'state'),
    [('basicsr', 'RCAN', 'experiments/{}/training_states/5.state'), ('mmagic', 'Restormer', 'work/last_checkpoint')],
)
def test_a_training_keeps_what_the_table_resumes(framework, model, state, resume, tmp_path):
    found = catalogue(tmp_path / 'tables', resume=resume)
    run = resolver_of(framework, tmp_path, found).run(Cell(framework, 'trial', model, 'tiny', 'stock', 0))
    task, path = TrainTask(run), run.folder / state.format(run.cell.name)
    before = task.kept()
    path.parent.mkdir(parents=True)
    for seconds in (1, 2):  # MMagic's is written again
        path.touch()
        os.utime(path, (seconds, seconds))
        assert (task.kept() != before) == resume
        before = task.kept()


def test_all_arms_start_from_one_pretrained_student(tmp_path):
    resolver = pretrained('basicsr', tmp_path)
    cells = list(resolver.catalogue.cells(resolver.catalogue.tables['trial'], 'basicsr'))
    own = [cell for cell in cells if (cell.model, cell.size) == ('Restormer', 'full')]
    assert [cell.seed for cell in own if cell.arm == PRETRAINING] == [0]
    assert [cell.seed for cell in own if cell.arm == 'stock'] == [0, 1, 2]
    assert own[0].arm == PRETRAINING
    first = read('basicsr', resolver.run(own[0]).text)
    assert first['path']['pretrain_network_g'] is None
    assert first['train']['total_iter'] == 2000
    for cell in own[1:]:
        config = read('basicsr', resolver.run(cell).text)
        start = own[0].folder(tmp_path) / 'experiments' / own[0].name / 'models/net_g_latest.pth'
        assert config['path']['pretrain_network_g'] == str(start)
        assert config['train']['total_iter'] == 300000
        assert config['train'].get('sapd_opt') == ({'stage': 'two_stage'} if cell.arm == 'spd' else None)
    tasks = list(plan(resolver, own[-1]))
    titles = [task.title for task in tasks if task.title.startswith('train')]
    assert [title.removeprefix('train trial/') for title in titles] == [
        'RCAN/full/pretraining/0',  # restores the images that masks are extracted from
        'Restormer/full/pretraining/0',
        'Restormer/full/spd/2',
    ]
    (masks,) = (task for task in tasks if task.title.startswith('masks'))
    command = list(masks.command())
    assert masks.title == 'masks trial/RCAN-full'
    assert command[command.index('--restored-by') + 1] == str(
        tmp_path / 'basicsr/trial/RCAN/full/pretraining/0/train.yml'
    )


def test_masks_are_done_whichever_interpreter_has_extracted_them(tmp_path):
    cell = Cell('basicsr', 'trial', 'RCAN', 'tiny', 'spd', 0)
    masks = next(task for task in plan(pretrained('basicsr', tmp_path), cell) if isinstance(task, MaskTask))
    note = tmp_path / 'basicsr/trial/masks/RCAN-tiny.done'
    note.parent.mkdir(parents=True)
    for command, done in ((masks.command(), True), (masks.command()[1:], True), (masks.command()[:-1], False)):
        note.write_text(shlex.join(command))
        assert masks.done() == done


def test_an_arm_is_trained_longer_by_the_entrys_time_factor(tmp_path):
    cell = Cell('basicsr', 'trial', 'RCAN', 'full', 'stock_longer', 0)
    training = pretrained('basicsr', tmp_path).run(cell)
    assert training.iterations == round(4.5 * training.published_iterations)
    assert read('basicsr', training.text)['train']['total_iter'] == training.iterations


def test_mmagic_starts_from_the_pretrained_student(tmp_path):
    resolver = pretrained('mmagic', tmp_path)
    first, stock, spd = (
        read('mmagic', resolver.run(Cell('mmagic', 'trial', 'Restormer', 'tiny', arm, 0)).text)
        for arm in (PRETRAINING, 'stock', 'spd')
    )
    assert first['train_cfg']['max_iters'] == 8 != stock['train_cfg']['max_iters']
    assert first.get('load_from') is None
    start = tmp_path / 'mmagic/trial/Restormer/tiny/pretraining/0/work/iter_8.pth'
    assert stock['load_from'] == spd['load_from'] == str(start)
    assert spd['model']['stage'] == 'two_stage'
    assert 'stage' not in stock['model']


def test_an_arm_may_start_with_the_spf_of_another(tmp_path):
    resolver = resolver_of('basicsr', tmp_path)
    cell = Cell('basicsr', 'noise50_ideas', 'NAFNet-w8', 'full', 'mix_trained', 1)
    trained = [task.title for task in plan(resolver, cell) if isinstance(task, TrainTask)]
    assert trained == [f'train noise50_ideas/NAFNet-w8/full/{arm}/1' for arm in ('teach_clean', 'mix_trained')]
    path = tmp_path / 'basicsr/noise50_ideas/NAFNet-w8/full/teach_clean/1/experiments'
    spf = path / 'noise50_ideas_NAFNet-w8_full_teach_clean_1/models/net_spf_latest.pth'
    options = read('basicsr', resolver.run(cell).text)
    assert options['path']['pretrain_network_spf'] == str(spf)
    assert options['path']['pretrain_network_g'] is None
    teacher = read('basicsr', resolver.run(dataclasses.replace(cell, arm='teach_clean')).text)
    assert 'pretrain_network_spf' not in teacher['path']


def test_mmagic_refuses_an_arm_that_starts_with_the_spf_of_another(tmp_path):
    resolver = pretrained('mmagic', tmp_path)
    arms = {**resolver.catalogue.arms, 'taught': replace(resolver.catalogue.arms['spd'], name='taught', teacher='spd')}
    resolver = resolver_of('mmagic', tmp_path, dataclasses.replace(resolver.catalogue, arms=arms))
    with pytest.raises(SAPDError, match='which only BasicSR loads by itself'):
        resolver.run(Cell('mmagic', 'trial', 'Restormer', 'tiny', 'taught', 0)).text  # noqa: B018


@pytest.mark.parametrize('framework', FRAMEWORKS)
def test_an_arm_says_when_the_branch_runs_also_of_a_pretrained_student(framework, tmp_path):
    resolver = pretrained(framework, tmp_path)
    arms = {**resolver.catalogue.arms, 'spd': replace(resolver.catalogue.arms['spd'], step={'every': 3})}
    resolver = resolver_of(framework, tmp_path, dataclasses.replace(resolver.catalogue, arms=arms))
    config = read(framework, resolver.run(Cell(framework, 'trial', 'Restormer', 'full', 'spd', 0)).text)
    if framework == 'basicsr':
        assert config['train']['sapd_opt'] == {'every': 3, 'stage': 'two_stage'}
    else:
        assert (config['model']['every'], config['model']['stage']) == (3, 'two_stage')


@pytest.mark.parametrize('resumes', [True, False])
def test_where_seeds_are_paired_an_interrupted_training_begins_again(resumes, tmp_path):
    found = catalogue(tmp_path / 'tables', models={'RCAN': TABLE['models']['RCAN']}, resume=resumes)
    resolver = resolver_of('basicsr', tmp_path, found)
    task = next(plan(resolver, Cell('basicsr', 'trial', 'RCAN', 'tiny', 'stock', 0)))
    assert '--auto_resume' not in task.command()
    states = task.of.folder / 'experiments' / task.of.cell.name / 'training_states'
    states.mkdir(parents=True)
    (states / '200.state').touch()
    task.of.config.touch()
    assert ('--auto_resume' in task.command()) == resumes
