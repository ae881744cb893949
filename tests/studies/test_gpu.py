"""Question 3 on a GPU: the page's cost is that of the table, and the script goes from step to step until it ends."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch

from sapd_plugin.archs import NAFNet
from sapd_plugin.evaluation.cost import count_macs
from sapd_plugin.experiments.catalogue import read_catalogue
from sapd_plugin.experiments.definitions import Launch, Settings
from sapd_plugin.experiments.plan import Resolver, load_framework
from studies.sam_priors import build, gpu
from studies.sam_priors.students import REGIMES

CATALOGUE = read_catalogue(build.FOLDER / 'tables')
# Stands in for Python: notes its arguments, makes the student, and ends with the next of the statuses in a file.
PYTHON = """#!/usr/bin/env bash
echo "$*" >>calls
student=runs/tables/basicsr/noise50_converged/FFDNet-w32/full/pretraining/0/experiments
student+=/noise50_converged_FFDNet-w32_full_pretraining_0/models/net_g_latest.pth
status=$(head -n 1 statuses)
sed -i 1d statuses
if [[ "$*" == *noise50_converged* && "$status" == 0 ]]; then mkdir -p "${student%/*}" && touch "$student"; fi
exit "$status"
"""


def test_the_table_has_the_arms_of_the_regime_from_scratch_and_resumes():
    table, scratch = (CATALOGUE.tables[name] for name in (gpu.TABLE, 'noise50_scratch'))
    assert tuple(arm.removesuffix('_long') for arm in table.arms) == scratch.arms
    assert (table.tests, table.validation, table.protocol) == (scratch.tests, scratch.validation, scratch.protocol)
    assert table.resume
    for run in gpu.trainings(CATALOGUE):
        options = run.options
        train = options['datasets']['train']
        assert train['gt_size'] >= 192
        assert options['train']['total_iter'] % options['logger']['save_checkpoint_freq'] == 0
        assert options['logger']['save_checkpoint_freq'] * 20 <= options['train']['total_iter']
        loss = 'PSNRLoss' if run.cell.model == 'NAFNet-w32' else 'L1Loss'
        assert options['train']['pixel_opt']['type'] == loss


@pytest.mark.parametrize('name', [gpu.TABLE, *REGIMES])
def test_the_recipes_of_question_3_end_with_the_training(name):
    """Else most of a longer training would be stock's."""
    resolver = Resolver(CATALOGUE, load_framework('basicsr'), Settings(Path(), Path(), Path(), Launch()))
    table, tested = CATALOGUE.tables[name], 0
    for cell in CATALOGUE.cells(table, 'basicsr'):
        run = resolver.run(cell)
        if cell.arm.startswith('student_'):
            spd = run.options['train']['spd_opt']
            assert spd['target'] == 'mix'
            assert spd['stop'] == spd['fall'] == run.iterations
            tested += 1
    assert tested >= 4 * len(table.seeds)


def test_the_cost_is_that_of_all_trainings_of_the_table():
    found = gpu.costs(CATALOGUE).set_index('student')
    assert list(found.index) == ['NAFNet-w32/small', 'NAFNet-w32/full', 'Restormer/small', 'Restormer/full']
    row = found.loc['NAFNet-w32/small']
    with torch.device('meta'):
        network = NAFNet(width=16, enc_blk_nums=[1, 1, 1, 14], middle_blk_num=1, dec_blk_nums=[1, 1, 1, 1])
    macs = count_macs(network, (1, 3, 192, 192))
    assert row['parameters'] == sum(each.numel() for each in network.parameters())
    assert (row['trainings'], row['iterations'], row['step']) == (9 * 3, 9 * 3 * 20_000, 8 * 3 * macs)
    # Of three seeds: stock, four students that a second network is trained beside, and four beside which it stands still.
    assert row['total'] == 3 * 20_000 * 8 * macs * (1 * 3 + 4 * (3 + 3) + 4 * (3 + 1))


@pytest.mark.parametrize(
    ('statuses', 'arguments', 'ended', 'calls'),
    [
        ([75, 0, 0, 75, 0, 75, 75, 0], [], 0, 'clean clean converged restored restored gpu gpu gpu'),
        ([0, 2], [], 2, 'clean converged'),
        ([75, 1], ['NAFNet-w32/full'], 1, 'clean clean'),
        ([130], [], 130, 'clean'),
        ([0], ['once'], 75, 'clean'),
    ],
)
def test_the_script_runs_the_next_step_until_all_is_done(tmp_path, statuses, arguments, ended, calls):
    done = run_script(tmp_path, statuses, arguments)
    assert done.returncode == ended, done.stderr
    lines = (tmp_path / 'calls').read_text().splitlines()
    assert [next(name for name in ('restored', 'converged', 'gpu', 'clean') if name in line) for line in lines] == (
        calls.split()
    )
    assert all(line.endswith('--stop-after 8') for line in lines)


@pytest.mark.parametrize(('arguments', 'cells'), [([], '*/small'), (['Restormer/*/stock', 'X'], 'Restormer/*/stock X')])
def test_one_chunk_of_the_cells_that_are_asked_for(tmp_path, arguments, cells):
    run_script(tmp_path, [0, 0, 0], ['once'], times=3)
    done = run_script(tmp_path, [75], ['once', *arguments])
    assert done.returncode == 75
    line = (tmp_path / 'calls').read_text().splitlines()[-1]
    assert f'reproduce run noise50_gpu {cells} --framework basicsr' in line


def run_script(folder: Path, statuses: list[int], arguments: list[str], times: int = 1) -> subprocess.CompletedProcess:
    """Run a copy of the script, with a stand-in for Python, in a folder."""
    script = folder / 'studies/sam_priors/gpu.sh'
    for path, text in (
        (script, (build.FOLDER / 'gpu.sh').read_text()),
        (folder / 'bin/python', PYTHON),
        (folder / 'statuses', '\n'.join(map(str, statuses)) + '\n'),
        (folder / 'datasets/masks/note', ''),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    (folder / 'bin/python').chmod(0o755)
    environment = {**os.environ, 'PATH': f'{folder / "bin"}:{os.environ["PATH"]}'}
    environment.pop('MINUTES', None)
    for _ in range(times):
        done = subprocess.run(['bash', str(script), *arguments], env=environment, capture_output=True, text=True)
    return done
