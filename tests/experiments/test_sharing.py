"""Chains of tasks: every task once, in order, whoever is at work beside; and groups of tables."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sapd_plugin.cli import reproduce
from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments import collected
from sapd_plugin.experiments import runner as sharing
from sapd_plugin.experiments.catalogue import Cell, read_catalogue, select_cells
from sapd_plugin.experiments.mask_tasks import images_done
from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.runner import locked, run_chains, unique
from sapd_plugin.experiments.tasks import Task
from tests.experiments.recipes import TABLE, catalogue, definitions

WORKER = """
import sys, time
from pathlib import Path
from sapd_plugin.experiments import runner as sharing
from sapd_plugin.experiments.tasks import Task

folder = Path(sys.argv[1])
sharing.WAIT = 0.05

def task(name):
    def note():
        time.sleep(0.15)
        with (folder / 'log').open('a') as file:
            file.write(f'{name}\\n')
        (folder / name).touch()
    return Task(name, folder, done=(folder / name).is_file, prepare=note)

sharing.run_chains([[task('masks'), task(f'train {i}'), task(f'test {i}')] for i in range(6)])
"""


def note(folder: Path, name: str, log: list[str]) -> Task:
    return Task(name, folder, done=lambda: name in log, prepare=lambda: log.append(name))


def test_three_processes_share_the_work(tmp_path):
    command = [sys.executable, '-c', WORKER, str(tmp_path)]
    begun = time.monotonic()
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    log = (tmp_path / 'log').read_text().splitlines()
    assert sorted(log) == sorted(['masks', *(f'{kind} {i}' for kind in ('train', 'test') for i in range(6))])
    assert log[0] == 'masks'
    assert all(log.index(f'train {i}') < log.index(f'test {i}') for i in range(6))
    assert time.monotonic() - begun < 60
    assert all('train 5: done' in text for text in printed)


def test_a_task_in_other_hands_is_waited_for_while_the_rest_goes_on(tmp_path, monkeypatch):
    log: list[str] = []
    first, others = note(tmp_path, 'first', log), [note(tmp_path, f'other {i}', log) for i in range(2)]
    held = locked(first)
    assert held.__enter__()

    def let_go(seconds: float) -> None:
        assert log == ['other 0', 'other 1']
        held.__exit__(None, None, None)

    monkeypatch.setattr(sharing.time, 'sleep', let_go)
    run_chains([[first, note(tmp_path, 'second', log)], others])
    assert log == ['other 0', 'other 1', 'first', 'second']


ORPHAN = """
import sys
from pathlib import Path
from sapd_plugin.experiments.runner import run_chains
from sapd_plugin.experiments.tasks import Task

folder = Path(sys.argv[1])
wait = [sys.executable, '-c', "import pathlib, sys, time; pathlib.Path('begun').touch(); time.sleep(2)"]
run_chains([[Task('train', folder, done=lambda: False, command=lambda: wait)]])
"""


def test_a_command_that_outlives_its_killed_starter_keeps_its_task(tmp_path):
    process = subprocess.Popen([sys.executable, '-c', ORPHAN, str(tmp_path)])
    while not (tmp_path / 'begun').exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    task = note(tmp_path, 'train', [])
    with locked(task) as mine:
        assert not mine
    end = time.monotonic() + 30
    while time.monotonic() < end:
        with locked(task) as mine:
            if mine:
                return
        time.sleep(0.1)
    raise AssertionError('the lock outlived the command')


def test_equal_titles_in_two_folders_are_two_tasks(tmp_path):
    log: list[str] = []
    tasks = [
        Task('train', tmp_path / name, done=lambda name=name: name in log, prepare=lambda name=name: log.append(name))
        for name in ('one', 'two')
    ]
    run_chains([[tasks[0]], [tasks[1], tasks[0]]])
    assert log == ['one', 'two']
    assert list(unique([tasks, tasks])) == tasks


def test_the_bar_takes_its_total_from_the_output(tmp_path, capsys):
    script = "print('rank 0:  50%|#  | 3/6 [00:01<00:01,  3.0image/s]'); print('rank 0: 100%|###| 6/6 [00:02<00:00]')"
    Task(
        'masks', tmp_path, lambda: False, lambda: [sys.executable, '-c', script], progress=images_done, unit='image'
    ).run()
    assert '6/6 [' in capsys.readouterr().err


def test_a_failed_task_stops_the_run(tmp_path):
    def fail() -> None:
        raise SAPDError('no disk')

    with pytest.raises(SAPDError, match='no disk'):
        run_chains([[Task('bad', tmp_path, done=lambda: False, prepare=fail)]])
    with locked(Task('bad', tmp_path, done=lambda: False)) as mine:
        assert mine


@pytest.fixture
def group(tmp_path) -> Path:
    """Two tables of one group, and one outside."""
    folder = definitions(tmp_path / 'definitions')
    for name, changes in (('one', {'group': 'both'}), ('two', {'group': 'both', 'arms': ['stock', 'spd']})):
        (folder / f'{name}.yml').write_text(yaml.safe_dump({**TABLE, **changes}))
    return folder


def test_a_group_is_its_tables(group):
    found = read_catalogue(group)
    assert [table.name for table in found.select('both')] == ['one', 'two']
    assert [table.name for table in found.select('trial')] == ['trial']
    with pytest.raises(SAPDError, match="TABLE: found 'bot'.*Did you mean 'both'"):
        found.select('bot')
    cells = [cell for table in found.select('both') for cell in found.cells(table, 'basicsr')]
    chosen = select_cells(cells, ['two/RCAN/tiny', 'one/*/*/stock/0'], grouped=True)
    assert [f'{cell.table}/{cell}' for cell in chosen][:3] == [
        'one/RCAN/full/stock/0',
        'one/RCAN/tiny/stock/0',
        'two/RCAN/tiny/stock/0',
    ]
    with pytest.raises(SAPDError, match='expected TABLE/MODEL/SIZE/ARM/SEED'):
        select_cells(cells, ['RCAN/tiny'], grouped=True)


def test_a_group_is_run_seed_by_seed(group, tmp_path, capsys):
    command = ['run', 'both', '*/RCAN/tiny', '--framework', 'basicsr', '--dry-run', '--definitions', str(group)]
    assert reproduce.main([*command, '--output', str(tmp_path), '--segmenter', 'felzenszwalb']) == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith('# train')]
    assert len(titles) == len(set(titles)) == 2 * 3 + 5 * 3
    assert [title.rsplit('/', 1)[1] for title in titles] == sorted(title.rsplit('/', 1)[1] for title in titles)


def test_only_what_is_asked_for_is_looked_for(group, tmp_path, capsys):
    (group / 'one.yml').write_text(
        yaml.safe_dump({**TABLE, 'group': 'both', 'tests': {'Elsewhere': 'Elsewhere/test'}, 'yardsticks': []})
    )
    command = ['run', 'both', 'two/RCAN/tiny/stock/0', '--framework', 'basicsr', '--definitions', str(group)]
    command += ['--output', str(tmp_path), '--data', str(tmp_path / 'none'), '--segmenter', 'felzenszwalb']
    assert reproduce.main(command) == 2
    printed = capsys.readouterr().err
    assert 'two needs images' in printed
    assert 'Elsewhere' not in printed


def test_a_framework_without_configs_is_named(tmp_path, capsys):
    folder = definitions(tmp_path / 'definitions', {**TABLE, 'models': {'RCAN': TABLE['models']['RCAN']}})
    command = ['run', 'trial', '--framework', 'mmagic', '--definitions', str(folder), '--segmenter', 'felzenszwalb']
    assert reproduce.main([*command, '--output', str(tmp_path)]) == 2
    assert 'no model of trial has a config of mmagic' in capsys.readouterr().err


def test_cells_of_a_csv_are_left_out(group, tmp_path, capsys):
    test = {'psnr': 30.0, 'ssim': 0.9, 'protocol': 'y', 'quantise': 'round', 'sigma': None, 'images': 3}
    found = [
        Results(Cell('basicsr', 'two', 'RCAN', 'tiny', 'stock', seed), {'finished': True}, {'Rain100L': dict(test)})
        for seed in range(3)
    ]
    found[1].training['finished'] = False
    found[2].tests['Rain100L']['protocol'] = 'rgb'
    collected.write(tmp_path / 'cells.csv', found)
    command = ['run', 'both', 'two/RCAN/tiny/stock', '--framework', 'basicsr', '--dry-run', '--definitions', str(group)]
    assert reproduce.main([*command, '--output', str(tmp_path), '--done', str(tmp_path / 'cells.csv')]) == 0
    printed = capsys.readouterr().out
    assert '1 of 3 cells are in' in printed
    assert [line[-1] for line in printed.splitlines() if line.startswith('# train')] == ['1', '2']
    assert reproduce.main([*command, '--output', str(tmp_path), '--done', str(tmp_path / 'none.csv')]) == 2


def test_arms_of_a_model_and_extra_arms(tmp_path):
    arms = {'odd': {'label': 'odd', 'extra': True, 'spf': {}}, 'even': {'label': 'even', 'spf': {}}}
    folder = definitions(tmp_path / 'definitions')
    (folder / 'arms.yml').write_text(yaml.safe_dump(arms))
    assert 'even' in read_catalogue(folder).tables['trial'].arms
    assert 'odd' not in read_catalogue(folder).tables['trial'].arms
    models = {'RCAN': {**TABLE['models']['RCAN'], 'arms': ['stock', 'odd']}}
    names = ['stock', 'even', 'odd']
    (folder / 'trial.yml').write_text(yaml.safe_dump({**TABLE, 'models': models, 'arms': names, 'seeds': [0]}))
    found = read_catalogue(folder)
    cells = [str(cell) for cell in found.cells(found.tables['trial'], 'basicsr')]
    assert cells == ['RCAN/full/stock/0', 'RCAN/full/odd/0', 'RCAN/tiny/stock/0', 'RCAN/tiny/odd/0']
    (folder / 'trial.yml').write_text(yaml.safe_dump({**TABLE, 'models': models}))
    with pytest.raises(SAPDError, match=r"trial.yml models.RCAN.arms: found 'odd', expected one of .*even"):
        read_catalogue(folder)


def test_a_mask_giver_has_to_be_in_the_table(tmp_path):
    assert catalogue(tmp_path, mask_giver='RCAN').tables['trial'].mask_giver == 'RCAN'
    with pytest.raises(SAPDError, match="mask_giver: found 'RCAM'"):
        catalogue(tmp_path, mask_giver='RCAM')
