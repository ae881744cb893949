"""With the same weights, data and losses, one SAPD step in BasicSR and one in MMagic give the same gradients."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import torch
from torch import nn

from tests import photos

SETTINGS = {
    'spd': {'type': 'SPDLoss', 'loss_weight': 0.4, 'gate': 'advantage'},
    'sgr': {'type': 'SGRLoss', 'loss_weight': 0.3, 'node_weight': 0.2, 'pixel_weight': 0.1},
    'spf': {'type': 'SPF', 'planes': 4},
}


class AgreeingNet(nn.Module):
    """A small network of the test's own, registered in both frameworks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.GELU(), nn.Conv2d(8, 3, 3, padding=1))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Restore."""
        return image + self.body(image)


def set_weights(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.1, generator=generator)


def basicsr_gradients(batch: dict, vgg: Path, root: Path) -> dict[str, torch.Tensor]:
    from basicsr.models import build_model
    from basicsr.utils.registry import ARCH_REGISTRY

    import sapd_plugin.basicsr  # noqa: F401

    ARCH_REGISTRY.register(AgreeingNet)
    opt = {
        'model_type': 'SAPDModel',
        'scale': 1,
        'num_gpu': 0,
        'dist': False,
        'rank': 0,
        'world_size': 1,
        'is_train': True,
        'datasets': {'train': {'type': 'PairedImageMaskDataset', 'gt_size': 48}},
        'network_g': {'type': 'AgreeingNet'},
        'network_spf': copy.deepcopy(SETTINGS['spf']),
        'path': {'pretrain_network_g': None, 'models': str(root)},
        'train': {
            'optim_g': {'type': 'Adam', 'lr': 1e-3},
            'scheduler': {'type': 'MultiStepLR', 'milestones': [9], 'gamma': 0.5},
            'pixel_opt': {'type': 'L1Loss'},
            'spd_opt': dict(SETTINGS['spd']),
            'sgr_opt': {**SETTINGS['sgr'], 'weights': str(vgg)},
        },
    }
    model = build_model(opt)
    model.distiller.double()
    for network, seed in ((model.net_g, 1), (model.net_spf, 2)):
        set_weights(network.double(), seed)
    model.feed_data(batch)
    model.optimize_parameters(1)
    named = {'generator': model.net_g, 'spf': model.net_spf}
    return {f'{k}.{n}': p.grad for k, network in named.items() for n, p in network.named_parameters()}


def mmagic_gradients(batch: dict, vgg: Path) -> dict[str, torch.Tensor]:
    from mmagic.registry import MODELS
    from mmagic.structures import DataSample
    from mmengine.registry import init_default_scope

    import sapd_plugin.mmagic  # noqa: F401

    init_default_scope('mmagic')
    MODELS.register_module(module=AgreeingNet)
    model = MODELS.build(
        {
            'type': 'SAPDModel',
            'generator': {'type': 'AgreeingNet'},
            'network_spf': copy.deepcopy(SETTINGS['spf']),
            'pixel_loss': {'type': 'L1Loss'},
            'spd_loss': dict(SETTINGS['spd']),
            'sgr_loss': {**SETTINGS['sgr'], 'weights': str(vgg)},
            'data_preprocessor': {'type': 'DataPreprocessor', 'mean': [0.0] * 3, 'std': [255.0] * 3},
        }
    ).double()
    model.prepare_training(None, torch.device('cpu'))
    model.in_training.distiller.double()
    for network, seed in ((model.generator, 1), (model.spf, 2)):
        set_weights(network, seed)
    model.in_training.iteration = 1
    samples = []
    for gt, mask in zip(batch['gt'], batch['mask']):
        sample = DataSample()
        sample.set_tensor_data({'gt_img': gt * 255, 'sam_mask': mask})
        sample.set_metainfo({'gt_channel_order': 'rgb', 'img_channel_order': 'rgb'})
        samples.append(sample)
    data = model.data_preprocessor({'inputs': [*(batch['lq'] * 255)], 'data_samples': samples}, True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return {name: p.grad for name, p in model.named_parameters()}


def test_one_step_gives_the_same_gradients(vgg_weights, tmp_path):
    pairs = photos.make_pairs(tmp_path / 'pairs', 2, (48, 56))
    images = {
        key: torch.stack(
            [
                torch.from_numpy(cv2.imread(str(path))[..., ::-1].copy()).permute(2, 0, 1).double() / 255
                for path in sorted((pairs / kind).glob('*.png'))
            ]
        )
        for key, kind in (('lq', 'rainy'), ('gt', 'clean'))
    }
    masks = [
        torch.from_numpy(photos.segmented(path).astype('int32'))[None]
        for path in sorted((pairs / 'clean').glob('*.png'))
    ]
    batch = {**images, 'mask': torch.stack(masks)}
    torch.set_default_dtype(torch.float64)
    try:
        basicsr, mmagic = basicsr_gradients(batch, vgg_weights, tmp_path), mmagic_gradients(batch, vgg_weights)
    finally:
        torch.set_default_dtype(torch.float32)
    assert basicsr.keys() == mmagic.keys()
    for key, gradient in basicsr.items():
        assert gradient.abs().max() > 0, key
        assert (gradient - mmagic[key]).abs().max() <= 1e-9 * gradient.abs().max(), key
