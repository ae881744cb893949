"""MMagic's real tools, in processes of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sapd_plugin.priors.store import MaskStore
from tests.adapters_mmagic.recipes import run_test, run_train, sapd_config, stock_config, write_config
from tests.networks import assert_equal_states
from tests.photos import ROOT, run, succeed

pytestmark = pytest.mark.slow

# A stock process: the plugin cannot be imported.
STOCK_TOOL = """
import pathlib, runpy, sys
sys.modules['sapd_plugin'] = None
import mmagic
runpy.run_path(str(pathlib.Path(mmagic.__file__).parent / '.mim/tools/{name}.py'), run_name='__main__')
"""
# What MMEngine asks of torch >= 2.6 before it reads its own files, where no plugin has said which classes to trust.
TRUST = {'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD': '1'}


def student(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / 'iter_4.pth', weights_only=False)['state_dict']


def test_train_test_and_strict_load_in_stock(pairs, store, vgg_weights, tmp_path):
    backends = [{'type': 'LocalVisBackend'}, {'type': 'TensorboardVisBackend'}]
    changes = {'visualizer:vis_backends': backends, 'train_dataloader:num_workers': 2}
    sapd = sapd_config(pairs, store, vgg_weights, **changes)
    log = run_train(write_config(sapd, tmp_path / 'sapd.py'), tmp_path / 'work')
    assert 'L(student) = L(base) + 0.5*L_SPD + 0.5*L_SGR' in log
    for name in ('loss', 'loss_spf', 'loss_spd', 'loss_sgr', 'psnr_restored', 'psnr_refined'):
        assert f'{name}: ' in log
    (events,) = (tmp_path / 'work').glob('*/vis_data')
    events = EventAccumulator(str(events)).Reload()
    assert {'loss_spf', 'loss_spd', 'loss_sgr', 'psnr_refined'} <= set(events.Tags()['scalars'])
    assert 'sapd_degraded_restored_refined_gt_mask' in events.Tags()['images']
    checkpoint = tmp_path / 'work/iter_4.pth'
    assert all(key.startswith('generator.') for key in student(tmp_path / 'work'))

    # Tested with the plugin and its config, and with the stock config where the plugin cannot be imported.
    ours = run_test(tmp_path / 'sapd.py', checkpoint, tmp_path)
    stock = write_config(stock_config(pairs), tmp_path / 'stock.py')
    command = [str(stock), str(checkpoint), '--work-dir', str(tmp_path), '--out', str(tmp_path / 'stock.json')]
    log = succeed(['-c', STOCK_TOOL.format(name='test'), *command], tmp_path, **TRUST)
    assert 'unexpected key' not in log
    assert 'missing keys' not in log
    assert json.loads((tmp_path / 'stock.json').read_text()) == ours


def test_zero_weights_equal_stock_through_the_stock_tool_which_loads_the_plugin_from_the_config(pairs, store, tmp_path):
    changes = {'train_dataloader:num_workers': 2}
    stock = write_config(stock_config(pairs, **changes), tmp_path / 'stock.py')
    zero = write_config(sapd_config(pairs, store, **changes, **{'model:spd_loss:loss_weight': 0}), tmp_path / 'sapd.py')
    tool = STOCK_TOOL.format(name='train')
    succeed(['-c', tool, str(stock), '--work-dir', str(tmp_path / 'stock')], tmp_path)
    command = ['-c', tool.replace("sys.modules['sapd_plugin'] = None\n", ''), str(zero)]
    log = succeed([*command, '--work-dir', str(tmp_path / 'sapd')], tmp_path, PYTHONPATH=str(ROOT))
    assert 'loss_spd: ' in log
    assert_equal_states(*(student(tmp_path / kind) for kind in ('stock', 'sapd')))


def test_masks_of_what_a_student_restores(pairs, store, tmp_path):
    config = write_config(stock_config(pairs), tmp_path / 'stock.py')
    run_train(config, tmp_path / 'work')
    command = [str(ROOT / 'tools/extract_masks.py'), '--images', str(pairs / 'rainy'), '--output', 'masks']
    command += ['--segmenter', 'felzenszwalb', '--restored-by', str(config), 'work/iter_4.pth']
    succeed(command, tmp_path)
    made = MaskStore(tmp_path / 'masks')
    assert made.settings['restored_by']['framework'] == 'mmagic'
    assert made.settings['source'] == 'restored'
    # Which is what a SAPD run then trains with.
    run_train(write_config(sapd_config(pairs, tmp_path / 'masks'), tmp_path / 'sapd.py'), tmp_path / 'sapd')


def test_a_mistake_stops_the_tool_before_the_first_step(pairs, store, tmp_path):
    config = sapd_config(pairs, store, **{'model:network_spf:encoding': 'plane'})
    command = [str(ROOT / 'tools/mmagic_train.py'), str(write_config(config, tmp_path / 'sapd.py'))]
    result = run(command, tmp_path)
    assert result.returncode != 0
    assert "network_spf.encoding: found 'plane'" in result.stdout
    assert 'Iter(train)' not in result.stdout


def test_importing_the_adapter_is_quick(tmp_path):
    """Over what MMagic's tools import themselves; its metrics bring scipy."""
    code = """
import time
import mmagic.models, mmagic.datasets, mmagic.evaluation
begun = time.perf_counter()
import sapd_plugin.mmagic
print('seconds', time.perf_counter() - begun)
"""
    seconds = []
    for _ in range(3):
        printed = succeed(['-c', code], tmp_path, PYTHONPATH=str(ROOT))
        seconds.append(float(printed.split('seconds')[1].split()[0]))
    assert min(seconds) < 0.3
