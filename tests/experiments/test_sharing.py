"""Chains of tasks: every task once and in order, also where several processes share them; and groups of tables."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sapd_plugin.cli import reproduce
from sapd_plugin.cli.common import Stopped
from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments import runner
from sapd_plugin.experiments.catalogue import read_catalogue, select_cells
from sapd_plugin.experiments.runner import execute, locked, run_chains
from tests.experiments.recipes import TABLE, Note, definitions

WORKER = """
import sys
from pathlib import Path
from sapd_plugin.experiments import runner
from tests.experiments.recipes import Note

folder = Path(sys.argv[1])
runner.WAIT = 0.05

def task(name):
    return Note(name, folder, folder / 'log', seconds=0.15)

runner.run_chains([[task('masks'), task(f'train {i}'), task(f'test {i}')] for i in range(6)])
"""
ORPHAN = """
import sys
from pathlib import Path
from sapd_plugin.experiments.runner import execute, run_chains
from tests.experiments.recipes import Note

class Waiting(Note):
    def work(self):
        wait = "import pathlib, time; pathlib.Path('begun').touch(); time.sleep(2)"
        execute([sys.executable, '-c', wait], self.folder, self.folder / 'output.txt', 'train', total=1)

folder = Path(sys.argv[1])
run_chains([[Waiting('train', folder, folder / 'log')]])
"""


def test_three_processes_share_the_work(tmp_path):
    command = [sys.executable, '-c', WORKER, str(tmp_path)]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    printed = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    log = (tmp_path / 'log').read_text().splitlines()
    assert sorted(log) == sorted(['masks', *(f'{kind} {i}' for kind in ('train', 'test') for i in range(6))])
    assert log[0] == 'masks'
    assert all(log.index(f'train {i}') < log.index(f'test {i}') for i in range(6))
    assert all('train 5: done' in text for text in printed)


def test_a_task_of_another_process_is_waited_for_while_the_rest_is_run(tmp_path, monkeypatch):
    log = tmp_path / 'log'
    first, *others = (Note(name, tmp_path, log) for name in ('first', 'other 0', 'other 1'))
    held = locked(first)
    assert held.__enter__()

    def release(seconds: float) -> None:
        assert log.read_text().splitlines() == ['other 0', 'other 1']
        held.__exit__(None, None, None)

    monkeypatch.setattr(runner.time, 'sleep', lambda seconds: release(seconds) if seconds else None)
    run_chains([[first, Note('second', tmp_path, log)], others])
    assert log.read_text().splitlines() == ['other 0', 'other 1', 'first', 'second']


def test_a_command_that_outlives_its_killed_starter_keeps_its_task(tmp_path):
    process = subprocess.Popen([sys.executable, '-c', ORPHAN, str(tmp_path)])
    while not (tmp_path / 'begun').exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.kill()
    process.wait()
    task = Note('train', tmp_path, tmp_path / 'log')
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
    tasks = [Note('train', tmp_path / name, tmp_path / f'{name}.log') for name in ('one', 'two')]
    run_chains([[tasks[0]], [tasks[1], tasks[0]]])
    assert [(tmp_path / f'{name}.log').read_text() for name in ('one', 'two')] == ['train\n', 'train\n']


def test_the_bar_shows_what_the_command_reports(tmp_path, capsys):
    script = (
        'import sys, time; from sapd_plugin.progress import ProgressFile\n'
        "print('iter: 9,999 of total_iter: 300000')\n"
        'ProgressFile.from_environment().write(3); time.sleep(2); print("end")'
    )
    output = execute([sys.executable, '-c', script], tmp_path, tmp_path / 'log.txt', 'train', total=6)
    assert output.endswith('end\n')
    assert (tmp_path / 'log.txt').read_text() == output
    shown = capsys.readouterr().err
    assert '3/6 [' in shown
    assert '6/6 [' in shown
    assert '9999' not in shown.replace(',', '')
    assert sorted(path.name for path in tmp_path.iterdir()) == ['log.txt']


def test_a_failed_command_shows_the_end_of_its_own_output(tmp_path):
    (tmp_path / 'log.txt').write_text('of an earlier command\n')
    with pytest.raises(SAPDError, match='no disk') as error:
        execute(
            [sys.executable, '-c', "print('early'); raise SystemExit('no disk')"],
            tmp_path,
            tmp_path / 'log.txt',
            'x',
            1,
        )
    assert 'early' in str(error.value)
    assert 'earlier' not in str(error.value)


def test_a_failed_task_stops_the_run(tmp_path):
    bad = Note('bad', tmp_path, tmp_path / 'absent/log')
    with pytest.raises(FileNotFoundError):
        run_chains([[bad, Note('next', tmp_path, tmp_path / 'log')]])
    assert not (tmp_path / 'log').exists()
    with locked(bad) as mine:
        assert mine


class Endless(Note):
    """Never ends; each try to run it keeps some work if it ``saves``."""

    saves = False

    def kept(self) -> object:
        return self.log.stat().st_size if self.saves and self.log.is_file() else 0

    def work(self) -> None:
        with self.log.open('a') as file:
            file.write('a state\n')
        for _ in range(2000):
            time.sleep(0.01)
        raise AssertionError('nothing stopped it')


def test_a_run_stops_by_itself_and_says_so_where_a_rerun_would_never_end(tmp_path):
    first, endless = Note('first', tmp_path, tmp_path / 'log'), Endless('endless', tmp_path, tmp_path / 'states')
    with pytest.raises(Stopped):
        reproduce._run_for(0.002, [[first, endless]], [first, endless])
    with locked(endless) as mine:
        assert mine
    with pytest.raises(
        SAPDError, match='--stop-after: found 0.002 minutes, in which no task ended and no training saved'
    ):
        reproduce._run_for(0.002, [[first, endless]], [first, endless])
    endless.saves = True
    with pytest.raises(Stopped):
        reproduce._run_for(0.002, [[first, endless]], [first, endless])


def test_a_run_that_waits_for_another_process_may_be_run_again(tmp_path, monkeypatch):
    monkeypatch.setattr(runner, 'WAIT', 0.02)
    task = Note('train', tmp_path, tmp_path / 'log')
    with locked(task) as mine, pytest.raises(Stopped):
        assert mine  # a lock of another open file, as of another process
        reproduce._run_for(0.002, [[task]], [task])
    assert not runner.runs_elsewhere(task)
    assert not task.log.exists()


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
    head = 'framework,table,model,size,arm,seed,test,metric,value,protocol,quantise,sigma,images,finished\n'
    line = 'basicsr,two,RCAN,tiny,stock,{},Rain100L,psnr,30.0,{},round,,3,{}\n'
    rows = line.format(0, 'y', True) + line.format(1, 'y', False) + line.format(2, 'rgb', True)
    (tmp_path / 'cells.csv').write_text(head + rows)
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
