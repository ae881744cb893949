"""BasicSR's real entry points, those that must be in processes of their own."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import basicsr
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sapd_plugin.basicsr import train
from tests.adapters_basicsr.recipes import run_here, sapd_options, stock_options, write_yaml
from tests.networks import assert_equal_states
from tests.photos import ROOT, make_pairs, make_store, run, segmented, succeed

# What `sapd compat enable` does at start-up, for one process tree; and a system without fcntl, such as Windows: nothing
# that trains may need it.
SITE = """
import sys
from sapd_plugin.compat import alias_functional_tensor
alias_functional_tensor()
sys.modules['fcntl'] = None
"""
# A stock process: the plugin cannot be imported, and the missing torchvision module is supplied by hand.
STOCK_TEST = """
import sys
sys.modules['sapd_plugin'] = None
try:
    import torchvision.transforms.functional_tensor
except ModuleNotFoundError:
    import torchvision.transforms._functional_tensor as module
    sys.modules['torchvision.transforms.functional_tensor'] = module
from basicsr.test import test_pipeline
test_pipeline('.')
"""


def weights(folder: Path, name: str) -> dict[str, dict[str, torch.Tensor]]:
    return torch.load(folder / 'models' / name, weights_only=True)


def tool(name: str, opt: dict[str, Any], cwd: Path) -> str:
    return succeed([str(ROOT / f'tools/basicsr_{name}.py'), '-opt', str(write_yaml(opt, cwd / 'opt.yml'))], cwd)


def psnr(log: str) -> str:
    return re.findall(r'# psnr: ([\d.]+)', log)[-1]


@pytest.mark.slow
def test_train_test_and_strict_load_in_stock(pairs, store, vgg_weights, tmp_path):
    changes = {
        'logger:use_tb_logger': True,
        'val:val_freq': 4,
        'val:save_img': True,
        'datasets:train:dataset_enlarge_ratio': 4,
    }
    sapd = sapd_options(pairs, store, vgg_weights, **changes)
    log = tool('train', sapd, tmp_path)
    assert 'L(student) = L(base) + 0.5*L_SPD + 0.5*L_SGR' in log
    for name in ('l_pix', 'l_spf', 'l_spd', 'l_sgr', 'psnr_restored', 'psnr_refined'):
        assert f'{name}: ' in log
    events = EventAccumulator(str(tmp_path / 'tb_logger/sapd')).Reload()
    assert {'losses/l_spf', 'losses/l_spd', 'losses/l_sgr', 'psnr_refined'} <= set(events.Tags()['scalars'])
    assert events.Tags()['images'] == ['sapd/degraded_restored_refined_gt_mask']
    experiment = tmp_path / 'experiments/sapd'
    assert (experiment / 'visualization/sapd/patch_4.png').is_file()

    # Tested with the plugin, and with the stock YAML where the plugin cannot be imported.
    model = {'path:pretrain_network_g': str(experiment / 'models/net_g_latest.pth'), 'path:param_key_g': 'params_ema'}
    with_plugin = sapd_options(pairs, store, vgg_weights, **model)
    without = stock_options(pairs, **model)
    for opt in (with_plugin, without):
        opt['datasets'] = {'test': opt['datasets']['val']}
    ours = psnr(tool('test', with_plugin, tmp_path))
    stock = succeed(['-c', STOCK_TEST, '-opt', str(write_yaml(without, tmp_path / 'test_stock.yml'))], tmp_path)
    assert psnr(stock) == ours == psnr(log)


@pytest.mark.slow
def test_stock_commands_load_the_plugin_from_the_yaml_and_train_without_fcntl(pairs, store, tmp_path):
    clone = tmp_path / 'clone'
    shutil.copytree(Path(basicsr.__file__).parent, clone / 'basicsr', ignore=shutil.ignore_patterns('__pycache__'))
    (clone / 'sitecustomize.py').write_text(SITE)
    for total, command in ((2, ['-m', 'basicsr.train']), (4, ['basicsr/train.py'])):  # the second resumes, on a CPU
        changes = {'train:total_iter': total, 'logger:save_checkpoint_freq': 2}
        yaml = write_yaml(sapd_options(pairs, store, **changes), tmp_path / 'sapd.yml', tagged=True)
        log = succeed([*command, '-opt', str(yaml), '--auto_resume'], clone, PYTHONPATH=f'{clone}:{ROOT}')
        assert 'Model [SAPDSRModel] is created' in log
        assert ('Resuming training from' in log) == (total == 4)
    assert weights(clone / 'experiments/sapd', 'net_g_4.pth').keys() == {'params', 'params_ema'}


def test_interrupted_and_resumed_equals_uninterrupted(tmp_path):
    """One image an epoch, since BasicSR starts the interrupted epoch again; crops and flips are drawn at random."""
    pairs = make_pairs(tmp_path / 'one', 1, (96, 112))
    store = make_store(tmp_path / 'masks', pairs / 'clean', segmented)
    changes = {'datasets:train:batch_size_per_gpu': 1, 'logger:save_checkpoint_freq': 2}
    for name, totals in (('whole', (4,)), ('halves', (2, 4))):
        for total in totals:
            opt = sapd_options(pairs, store, name=name, **changes, **{'train:total_iter': total})
            log = run_here(train.main, opt, tmp_path, '--auto_resume')
            assert ('Resuming training from epoch: 1, iter: 2' in log) == (name == 'halves' and total == 4)
    folders = [tmp_path / 'experiments' / kind for kind in ('whole', 'halves')]
    for name in ('net_g_4.pth', 'net_spf_4.pth'):
        assert_equal_states(*(weights(folder, name) for folder in folders))
    whole, halves = (torch.load(folder / 'training_states/4.state') for folder in folders)
    assert whole['schedulers'] == halves['schedulers']
    whole, halves = (torch.load(folder / 'training_states/4.sapd.rank0', weights_only=True) for folder in folders)
    assert whole['python'] == halves['python']
    # torch's own stream continues, too (test_model.py), but BasicSR's prefetcher draws from it once more at each start.


def test_zero_weights_equal_stock_through_the_tool_and_its_workers(pairs, store, tmp_path):
    changes = {'datasets:train:dataset_enlarge_ratio': 4, 'datasets:train:num_worker_per_gpu': 2}
    zero = sapd_options(pairs, store, **changes, **{'train:spd_opt:loss_weight': 0})
    for opt in (stock_options(pairs, **changes), zero):
        run_here(train.main, opt, tmp_path)
    assert_equal_states(*(weights(tmp_path / 'experiments' / name, 'net_g_latest.pth') for name in ('stock', 'sapd')))


@pytest.mark.slow
def test_a_mistake_stops_the_tool_before_the_first_step(pairs, store, tmp_path):
    opt = sapd_options(pairs, store, **{'network_spf:encoding': 'plane'})
    yaml = write_yaml(opt, tmp_path / 'sapd.yml')
    result = run([str(ROOT / 'tools/basicsr_train.py'), '-opt', str(yaml)], tmp_path)
    assert result.returncode != 0
    assert "network_spf.encoding: found 'plane'" in result.stdout
    assert 'iter:       1' not in result.stdout
