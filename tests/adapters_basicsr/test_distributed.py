"""Two gloo processes on halves of a batch give the gradients of one process on the whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from basicsr.data import build_dataset

import sapd_plugin.basicsr  # noqa: F401
from tests.adapters_basicsr.recipes import parsed, sapd_options, write_yaml

pytestmark = pytest.mark.slow


def gradients(rank: int, world: int, opt: dict, batch: dict, output: Path) -> None:
    """One training step of ``rank`` on its part of the batch, in float64; saves the gradients."""
    from basicsr.models import build_model
    from basicsr.models.base_model import BaseModel
    from torch.nn.parallel import DistributedDataParallel

    # BasicSR's own asks CUDA for a device.
    BaseModel.model_to_device = lambda self, net: DistributedDataParallel(net) if world > 1 else net
    torch.set_default_dtype(torch.float64)
    opt.update(dist=world > 1, rank=rank, world_size=world)
    torch.manual_seed(0)
    model = build_model(opt)
    model.net_spf.double()
    part = len(batch['gt']) // world
    model.feed_data({key: value[rank * part : (rank + 1) * part] for key, value in batch.items()})
    torch.nn.init.normal_(
        model.get_bare_model(model.net_spf).fuse[2].weight, generator=torch.Generator().manual_seed(0)
    )
    model.optimize_parameters(1)
    if rank == 0:
        names = {'net_g': model.get_bare_model(model.net_g), 'net_spf': model.get_bare_model(model.net_spf)}
        grads = {f'{n}.{k}': p.grad for n, net in names.items() for k, p in net.named_parameters()}
        torch.save({'gradients': grads, 'log': model.log_dict}, output)


def main(rank: int, world: int, folder: str) -> None:
    """A worker process's part."""
    if world > 1:
        torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=world)
    opt = parsed(yaml.safe_load(Path(folder, 'sapd.yml').read_text()), Path(folder))
    gradients(rank, world, opt, torch.load(Path(folder, 'batch.pth')), Path(folder, f'gradients_{world}.pth'))
    if world > 1:
        torch.distributed.destroy_process_group()


def test_two_processes_equal_one(pairs, store, vgg_weights, tmp_path):
    opt = sapd_options(
        pairs,
        store,
        vgg_weights,
        **{
            'train:ema_decay': 0,
            'train:spd_opt:gate': 'pixel',
            'train:sgr_opt:node_weight': 0.1,
            'train:sgr_opt:pixel_weight': 0.1,
        },
    )
    write_yaml(opt, tmp_path / 'sapd.yml')
    dataset = build_dataset(parsed(opt, tmp_path)['datasets']['train'])
    batch = torch.utils.data.default_collate([dataset[k] for k in range(4)])
    batch = {'lq': batch['lq'].double(), 'gt': batch['gt'].double(), 'mask': batch['mask']}
    batch['mask'][3] = 0  # an image without masks must not weigh more in one half
    torch.save(batch, tmp_path / 'batch.pth')
    here = Path(__file__).parents[2]
    start = (
        'from sapd_plugin.compat import alias_functional_tensor as alias; alias(); '
        f'import sys; sys.path.insert(0, {str(here)!r}); '
        'import tests.adapters_basicsr.test_distributed as t; t.main'
    )
    workers = []
    for world in (1, 2):
        for rank in range(world):
            code = start + f'({rank}, {world}, {str(tmp_path)!r})'
            workers.append(subprocess.Popen([sys.executable, '-c', code], env={**os.environ, 'OMP_NUM_THREADS': '1'}))
    assert [w.wait(timeout=300) for w in workers] == [0, 0, 0]
    one, two = (torch.load(tmp_path / f'gradients_{world}.pth') for world in (1, 2))
    assert one['gradients'].keys() == two['gradients'].keys()
    for key, gradient in one['gradients'].items():
        assert torch.allclose(gradient, two['gradients'][key], rtol=1e-9, atol=1e-14), key
        assert gradient.abs().sum() > 0, key
    for name, value in one['log'].items():
        if name.startswith('l_'):
            assert two['log'][name] == pytest.approx(value, rel=1e-9)
