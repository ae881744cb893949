"""MMagic's real tools, in processes of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.adapters_mmagic.recipes import sapd_config, stock_config, write_config
from tests.photos import ROOT, run, succeed

pytestmark = pytest.mark.slow

# A stock process: the plugin cannot be imported.
STOCK_TOOL = """
import pathlib, runpy, sys
sys.modules['sapd_plugin'] = None
import mmagic
runpy.run_path(str(pathlib.Path(mmagic.__file__).parent / '.mim/tools/{name}.py'), run_name='__main__')
"""


def student(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / 'iter_4.pth', weights_only=False)['state_dict']


def tool(name: str, config: Path, *more: str) -> str:
    return succeed([str(ROOT / f'tools/mmagic_{name}.py'), str(config), *more], config.parent)


def test_train_test_and_strict_load_in_stock(pairs, store, vgg_weights, tmp_path):
    backends = [{'type': 'LocalVisBackend'}, {'type': 'TensorboardVisBackend'}]
    changes = {'visualizer:vis_backends': backends, 'train_dataloader:num_workers': 2}
    sapd = sapd_config(pairs, store, vgg_weights, **changes)
    config = write_config(sapd, tmp_path / 'sapd.py')
    log = tool('train', config, '--work-dir', str(tmp_path / 'work'))
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
    tool('test', config, str(checkpoint), '--work-dir', str(tmp_path), '--out', str(tmp_path / 'sapd.json'))
    stock = write_config(stock_config(pairs), tmp_path / 'stock.py')
    command = [str(stock), str(checkpoint), '--work-dir', str(tmp_path), '--out', str(tmp_path / 'stock.json')]
    log = succeed(['-c', STOCK_TOOL.format(name='test'), *command], tmp_path)
    assert 'unexpected key' not in log
    assert 'missing keys' not in log
    assert (tmp_path / 'stock.json').read_text() == (tmp_path / 'sapd.json').read_text()


def test_the_stock_tool_loads_the_plugin_from_the_config(pairs, store, tmp_path):
    config = write_config(sapd_config(pairs, store), tmp_path / 'sapd.py')
    tool = STOCK_TOOL.format(name='train').replace("sys.modules['sapd_plugin'] = None\n", '')
    log = succeed(['-c', tool, str(config), '--work-dir', str(tmp_path / 'work')], tmp_path, PYTHONPATH=str(ROOT))
    assert 'loss_spd: ' in log
    assert student(tmp_path / 'work')


def test_a_mistake_stops_the_tool_before_the_first_step(pairs, store, tmp_path):
    config = sapd_config(pairs, store, **{'model:network_spf:encoding': 'plane'})
    command = [str(ROOT / 'tools/mmagic_train.py'), str(write_config(config, tmp_path / 'sapd.py'))]
    result = run(command, tmp_path)
    assert result.returncode != 0
    assert "network_spf.encoding: found 'plane'" in result.stdout
    assert 'Iter(train)' not in result.stdout
