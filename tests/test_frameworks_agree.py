"""With the same weights, data and losses, a SAPD step has the same gradients in BasicSR, MMagic and on two processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sapd_plugin.compat import alias_functional_tensor
from tests.photos import ROOT, make_pairs, segmented

Tensors = dict[str, torch.Tensor]


class AgreeingNet(nn.Module):
    """A small network of the test's own, registered in both frameworks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + self.body(image)


def set_weights(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.normal_(std=0.1, generator=generator)


def basicsr(batch: Tensors, vgg: Path, root: Path, rank: int = 0, world: int = 1) -> tuple[Tensors, dict[str, Any]]:
    """Return the gradients of a step, and what it logs; of several ranks the shares of the batch differ."""
    from basicsr.models import build_model
    from basicsr.models.base_model import BaseModel
    from basicsr.utils.registry import ARCH_REGISTRY

    import sapd_plugin.basicsr  # noqa: F401
    from tests.adapters_basicsr.recipes import parsed, sapd_options

    if 'AgreeingNet' not in ARCH_REGISTRY:
        ARCH_REGISTRY.register(AgreeingNet)
    if world > 1:  # BasicSR's own asks CUDA for a device
        BaseModel.model_to_device = lambda self, network: DistributedDataParallel(network)
    losses = {'spd_opt:gate': 'advantage', 'sgr_opt:node_weight': 0.2, 'sgr_opt:pixel_weight': 0.1}
    changes = {'network_g': {'type': 'AgreeingNet'}, **{f'train:{key}': value for key, value in losses.items()}}
    none = {'train:ema_decay': 0, 'datasets:train:mask_store': None}  # masks come with the batch
    opt = parsed(sapd_options(root, root, vgg, **changes, **none), root)
    opt.update(dist=world > 1, rank=rank, world_size=world)
    model = build_model(opt)
    model.distiller.double()
    networks = {'generator': model.get_bare_model(model.net_g), 'spf': model.get_bare_model(model.net_spf)}
    for seed, network in enumerate(networks.values()):
        set_weights(network, seed)
    model.feed_data(batch)
    model.optimize_parameters(1)
    log = {name: value for name, value in model.log_dict.items() if name.startswith('l_')}
    return {f'{k}.{n}': p.grad for k, network in networks.items() for n, p in network.named_parameters()}, log


def mmagic(batch: Tensors, vgg: Path, root: Path, rank: int = 0, world: int = 1) -> tuple[Tensors, dict[str, Any]]:
    from mmagic.registry import MODELS
    from mmagic.structures import DataSample
    from mmengine.model import MMDistributedDataParallel
    from mmengine.registry import init_default_scope

    import sapd_plugin.mmagic  # noqa: F401
    from tests.adapters_mmagic.recipes import sapd_config

    init_default_scope('mmagic')
    MODELS.register_module(module=AgreeingNet, force=True)
    losses = {'spd_loss:gate': 'advantage', 'sgr_loss:node_weight': 0.2, 'sgr_loss:pixel_weight': 0.1}
    changes = {'generator': {'type': 'AgreeingNet'}, **losses}
    config = sapd_config(root, root, vgg, **{f'model:{key}': value for key, value in changes.items()})
    model = MODELS.build(config['model']).double()
    model.prepare_training(None, torch.device('cpu'))
    model.in_training.distiller.double()
    for seed, network in enumerate((model.generator, model.spf)):
        set_weights(network, seed)
    model.in_training.iteration = 1
    samples = []
    for gt, mask in zip(batch['gt'], batch['mask']):
        sample = DataSample()
        sample.set_tensor_data({'gt_img': gt * 255, 'sam_mask': mask})
        sample.set_metainfo({'gt_channel_order': 'rgb', 'img_channel_order': 'rgb'})
        samples.append(sample)
    data = model.data_preprocessor({'inputs': [*(batch['lq'] * 255)], 'data_samples': samples}, True)
    wrapped = MMDistributedDataParallel(model) if world > 1 else model
    loss, _ = model.parse_losses(wrapped(**data, mode='loss'))
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}, {}


STEPS = {'basicsr': basicsr, 'mmagic': mmagic}


def work(framework: str, folder: Path, vgg: Path, rank: int) -> None:
    """One of two processes: the step on its half of the batch."""
    alias_functional_tensor()
    torch.set_default_dtype(torch.float64)
    torch.distributed.init_process_group('gloo', init_method=f'file://{folder}/meet', rank=rank, world_size=2)
    halves = {key: images.chunk(2)[rank] for key, images in torch.load(folder / 'batch.pth').items()}
    found = STEPS[framework](halves, vgg, folder, rank, 2)
    if rank == 0:
        torch.save(found, folder / 'found.pth')
    torch.distributed.destroy_process_group()


@pytest.fixture(autouse=True)
def float64() -> Iterator[None]:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def batch(tmp_path: Path) -> Tensors:
    """Four photos; the last one has no masks, and must not weigh more in one half of the batch."""
    pairs = make_pairs(tmp_path / 'pairs', 4, (48, 56))
    paths = {kind: sorted((pairs / kind).glob('*.png')) for kind in ('rainy', 'clean')}
    lq, gt = (
        torch.stack([torch.from_numpy(cv2.imread(str(path))[..., ::-1] / 255).permute(2, 0, 1) for path in paths[kind]])
        for kind in ('rainy', 'clean')
    )
    mask = torch.stack([torch.from_numpy(segmented(path).astype('int32'))[None] for path in paths['clean']])
    mask[3] = 0
    return {'lq': lq, 'gt': gt, 'mask': mask}


def assert_same(one: Tensors, two: Tensors) -> None:
    assert one.keys() == two.keys()
    for key, gradient in one.items():
        assert gradient.abs().max() > 0, key
        assert torch.allclose(gradient, two[key], rtol=1e-9, atol=1e-14), key


def test_both_frameworks_give_the_same_gradients(batch, vgg_weights, tmp_path):
    assert_same(*(step(batch, vgg_weights, tmp_path)[0] for step in STEPS.values()))


@pytest.mark.slow
@pytest.mark.parametrize('framework', STEPS)
def test_two_processes_with_half_of_the_batch_each_equal_one_with_the_whole(framework, batch, vgg_weights, tmp_path):
    torch.save(batch, tmp_path / 'batch.pth')
    command = [sys.executable, '-m', 'tests.test_frameworks_agree', framework, str(tmp_path), str(vgg_weights)]
    environment = {**os.environ, 'OMP_NUM_THREADS': '1'}
    workers = [subprocess.Popen([*command, rank], cwd=ROOT, env=environment) for rank in ('0', '1')]
    assert [worker.wait(timeout=300) for worker in workers] == [0, 0]
    gradients, log = STEPS[framework](batch, vgg_weights, tmp_path)
    found, logged = torch.load(tmp_path / 'found.pth')
    assert_same(gradients, found)
    assert logged == pytest.approx(log, rel=1e-9)


if __name__ == '__main__':
    work(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
