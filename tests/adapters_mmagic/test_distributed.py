"""Two gloo processes on halves of a batch give the gradients of one process on the whole."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmagic.registry import DATASETS
from mmengine.config import Config

import sapd_plugin.mmagic  # noqa: F401
from tests.adapters_mmagic.recipes import sapd_config, write_config

pytestmark = pytest.mark.slow


def main(rank: int, world: int, folder: str) -> None:
    """A worker process's part: one training step of its share of the batch, in float64, through MMEngine's wrapper."""
    from mmagic.registry import MODELS
    from mmengine.model import MMDistributedDataParallel
    from mmengine.registry import init_default_scope

    init_default_scope('mmagic')
    if world > 1:
        torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=world)
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(Path(folder, 'sapd.py')).model).double()
    generator = torch.Generator().manual_seed(0)  # NAFNet starts as the identity, and SPF as the plain cascade
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    model.prepare_training(None, torch.device('cpu'))
    model.in_training.distiller.double()
    model.in_training.iteration = 1
    samples = torch.load(Path(folder, 'samples.pth'), weights_only=False)
    share = len(samples) // world
    samples = samples[rank * share : (rank + 1) * share]
    data = {key: [sample[key] for sample in samples] for key in ('inputs', 'data_samples')}
    wrapped = MMDistributedDataParallel(model) if world > 1 else model
    data = model.data_preprocessor(data, True)
    data['inputs'], data['data_samples'].gt_img = data['inputs'].double(), data['data_samples'].gt_img.double()
    losses, _ = model.parse_losses(wrapped(**data, mode='loss'))
    losses.backward()
    if rank == 0:
        torch.save({name: p.grad for name, p in model.named_parameters()}, Path(folder, f'gradients_{world}.pth'))
    if world > 1:
        torch.distributed.destroy_process_group()


def test_two_processes_equal_one(pairs, store, vgg_weights, tmp_path):
    changes = {
        'model:spd_loss:gate': 'pixel',
        'train_dataloader:batch_size': 4,
    }
    config = sapd_config(pairs, store, vgg_weights, **changes)
    config['model']['sgr_loss'].update(node_weight=0.1, pixel_weight=0.1)
    write_config(config, tmp_path / 'sapd.py')
    dataset = DATASETS.build(config['train_dataloader']['dataset'])
    samples = [dataset[index] for index in range(4)]
    samples[3]['data_samples'].sam_mask *= 0  # an image without masks must not weigh more in one half
    torch.save(samples, tmp_path / 'samples.pth')
    here = Path(__file__).parents[2]
    start = f'import sys; sys.path.insert(0, {str(here)!r}); import tests.adapters_mmagic.test_distributed as t; '
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    workers = [
        subprocess.Popen([sys.executable, '-c', f'{start}t.main({rank}, {world}, {str(tmp_path)!r})'], env=environment)
        for world in (1, 2)
        for rank in range(world)
    ]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0, 0]
    one, two = (torch.load(tmp_path / f'gradients_{world}.pth') for world in (1, 2))
    assert one.keys() == two.keys()
    assert any(key.startswith('spf.') for key in one)
    for key, gradient in one.items():
        assert torch.allclose(gradient, two[key], rtol=1e-9, atol=1e-14), key
        assert gradient.abs().sum() > 0, key
