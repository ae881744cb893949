"""Published weights of PReNet, DnCNN and FFDNet on real photos, and features of single networks."""

from __future__ import annotations

import copy
from pathlib import Path

import cv2
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sapd_plugin.archs import NETWORKS, RCAN, DnCNN, FFDNet, NAFNet, NAFNetLocal
from sapd_plugin.archs.nafnet import WindowMean
from tests.archs_tables import TINY


def photo(path: Path, flag: int = cv2.IMREAD_COLOR) -> Tensor:
    """Part of a photo, (1,C,160,160), RGB in [0, 1]."""
    image = torch.from_numpy(cv2.imread(str(path), flag)).float().div(255)[120:280, 100:260]
    return image[None, None] if image.dim() == 2 else image.permute(2, 0, 1).flip(0)[None]


def psnr(a: Tensor, b: Tensor) -> float:
    return -10 * (a.clamp(0, 1) - b).square().mean().log10().item()


def published(shared: Path, name: str) -> dict[str, Tensor]:
    return torch.load(shared / 'weights' / name, map_location='cpu', weights_only=True)


@pytest.mark.parametrize('name', ['PReNet', 'PReNet_r', 'PRN', 'PRN_r'])
def test_published_derainers(calibration_data, name):
    network = NETWORKS[name]()
    body, _, shared = name.partition('_')
    weights = f'prenet/rain100l_{body}6{shared and "_r"}.pth'
    network.load_state_dict(published(calibration_data, weights), strict=True)
    image = sorted((calibration_data / 'rain100l/rainy').glob('*.png'))[0]
    rainy, clean = photo(image), photo(calibration_data / 'rain100l/clean' / image.name)
    with torch.no_grad():
        assert psnr(network(rainy), clean) - psnr(rainy, clean) > 5


def test_published_ffdnet_and_its_noise_level(calibration_data):
    settings = {'in_nc': 3, 'out_nc': 3, 'nc': 96, 'nb': 12}
    weights = published(calibration_data, 'ffdnet_color.pth')
    network, at_50 = FFDNet(**settings), FFDNet(**settings, sigma=50)
    for net in (network, at_50):
        net.load_state_dict(weights, strict=True)
    clean = photo(sorted((calibration_data / 'cbsd68').glob('*.png'))[0])
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    noisy, noisier = clean + 25 / 255 * noise, clean + 50 / 255 * noise
    with torch.no_grad():
        assert psnr(network(noisy), clean) - psnr(noisy, clean) > 5
        assert psnr(at_50(noisier), clean) > psnr(network(noisier), clean) + 2
        assert torch.equal(at_50(noisier), network(noisier, 50))
        both = network(torch.cat([noisy, noisier]), torch.tensor([25.0, 50.0]).view(2, 1, 1, 1))
        assert torch.allclose(both, torch.cat([network(noisy), at_50(noisier)]), atol=1e-5)


def test_dncnn_trained_with_batch_norm_is_published_without():
    torch.manual_seed(0)
    trained = DnCNN(nc=8, nb=5).train()
    trained(torch.rand(4, 1, 16, 16))  # running statistics
    trained.eval()
    merged = []
    for layer in trained.model:
        if isinstance(layer, torch.nn.BatchNorm2d):
            merged[-1] = fuse_conv_bn_eval(merged[-1], layer)
        else:
            merged.append(copy.deepcopy(layer))
    plain = DnCNN(nc=8, nb=5, act_mode='R')
    plain.load_state_dict(torch.nn.ModuleDict({'model': torch.nn.Sequential(*merged)}).state_dict(), strict=True)
    image = torch.rand(1, 1, 16, 16)
    assert torch.allclose(plain(image), trained(image), atol=1e-6)


def test_window_mean_is_pooling_with_a_replicated_border():
    features = torch.rand(2, 3, 21, 30)
    expected = F.pad(F.avg_pool2d(features, (8, 7), stride=1), (3, 3, 3, 4), mode='replicate')
    assert torch.allclose(WindowMean((8, 7))(features), expected, atol=1e-6)
    assert WindowMean((8, 40))(features).shape == features.shape
    assert torch.equal(WindowMean((21, 30))(features), F.adaptive_avg_pool2d(features, 1))


def test_nafnet_local_is_nafnet_up_to_its_window():
    torch.manual_seed(0)
    local = NAFNetLocal(**TINY['NAFNetLocal'])  # a window of 36 pixels
    for parameter in local.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    plain = NAFNet(**TINY['NAFNet'])
    plain.load_state_dict(local.state_dict(), strict=True)
    small, large = torch.rand(1, 3, 36, 33), torch.rand(1, 3, 36, 64)
    assert torch.equal(local(small), plain(small))
    assert (local(large) - plain(large)).abs().max() > 1e-3


@pytest.mark.parametrize('scale', [1, 2, 3, 4, 8])
def test_rcan_scales(scale):
    network = RCAN(scale, n_resgroups=1, n_resblocks=1, n_feats=8, reduction=2)
    assert network(torch.rand(1, 3, 7, 9)).shape == (1, 3, 7 * scale, 9 * scale)
    assert sorted(n for n, p in network.named_parameters() if not p.requires_grad) == [
        f'{shift}_mean.{name}' for shift in ('add', 'sub') for name in ('bias', 'weight')
    ]
    # Without features the image is DIV2K's mean.
    for parameter in network.tail.parameters():
        torch.nn.init.zeros_(parameter)
    black = network(torch.zeros(1, 3, 7, 9))
    assert torch.allclose(black.mean(dim=(0, 2, 3)), torch.tensor([0.4488, 0.4371, 0.4040]))
