from __future__ import annotations

import pytest
import torch
from torch import nn

from sapd_plugin.core import SPF, build_branch, start_from
from sapd_plugin.core.fusion.image import ENCODINGS, encode_mask, encoding_channels
from sapd_plugin.core.outputs import image_index
from sapd_plugin.errors import SAPDError
from tests.networks import ScalesNet

IMAGE = {'fusion': 'image', 'mask_dropout': 0}  # the first version's


def mask(n: int = 2, h: int = 12, w: int = 10) -> torch.Tensor:
    labels = torch.zeros(n, 1, h, w, dtype=torch.int32)
    labels[..., :6, :] = 9
    labels[..., 8:, 4:] = 4
    return labels


@pytest.mark.parametrize('encoding', ENCODINGS)
@pytest.mark.parametrize('channels', [1, 3])
def test_shapes_and_gradients(encoding, channels):
    spf = SPF(nn.Conv2d(channels, channels, 3, padding=1), channels, **IMAGE, encoding=encoding, planes=5)
    y = torch.rand(2, channels, 12, 10)
    assert encode_mask(mask(), y, encoding, 5).shape == (2, encoding_channels(encoding, 5, channels), 12, 10)
    z = spf(y, mask())
    assert z.shape == y.shape
    nn.init.normal_(spf.fuse[2].weight)
    spf(y, mask()).square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in spf.parameters())
    assert all(p.grad.abs().sum() > 0 for p in spf.network.parameters())


@pytest.mark.parametrize('encoding', ENCODINGS)
def test_starts_as_the_plain_cascade(encoding):
    network = nn.Conv2d(3, 3, 3, padding=1)
    y = torch.rand(2, 3, 12, 10)
    assert torch.equal(SPF(network, **IMAGE, encoding=encoding)(y, mask()), network(y))


def test_planes_hold_the_largest_regions_of_the_patch_in_order():
    y = torch.zeros(2, 3, 12, 10)
    planes = encode_mask(mask(), y, 'planes', 4)
    assert torch.equal(planes[:, 0], (mask() == 9)[:, 0].float())
    assert torch.equal(planes[:, 1], (mask() == 4)[:, 0].float())
    assert planes[:, 2:].eq(0).all()
    assert encode_mask(mask(), y, 'none', 4).eq(0).all()


def test_region_mean_paints_each_region_with_its_mean():
    y = torch.rand(2, 3, 12, 10)
    painted = encode_mask(mask(), y, 'region_mean', 4)[:, :3]
    for n in range(2):
        for label in (4, 9):
            where = mask()[n, 0] == label
            mean = y[n][:, where].mean(1, keepdim=True).expand(-1, int(where.sum()))
            assert torch.allclose(painted[n][:, where], mean, atol=1e-6)
    assert painted.movedim(1, -1)[mask()[:, 0] == 0].eq(0).all()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_the_mean_of_a_large_region_in_half_precision(dtype):
    restored, labels = torch.full((1, 3, 256, 256), 0.5, dtype=dtype), torch.ones(1, 1, 256, 256, dtype=torch.int32)
    assert encode_mask(labels, restored, 'region_mean', 4)[:, :3].eq(0.5).all()


def test_detach_is_a_switch():
    y = torch.rand(1, 3, 12, 10, requires_grad=True)
    SPF(nn.Conv2d(3, 3, 1), **IMAGE)(y, mask(1)).sum().backward()
    assert y.grad is None
    SPF(nn.Conv2d(3, 3, 1), **IMAGE, detach=False)(y, mask(1)).sum().backward()
    assert y.grad is not None
    assert y.grad.abs().sum() > 0


def test_gradcheck():
    spf = SPF(nn.Conv2d(1, 1, 3, padding=1), 1, **IMAGE, planes=2, width=2, detach=False).double()
    nn.init.normal_(spf.fuse[2].weight)
    y = torch.rand(1, 1, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda t: spf(t, mask(1, 5, 4)), (y,))


def test_mistakes_are_named():
    with pytest.raises(SAPDError, match=r"^encoding: found 'plane'.*Did you mean 'planes'"):
        SPF(nn.Identity(), **IMAGE, encoding='plane')
    with pytest.raises(SAPDError, match=r'^planes: found 0, expected an integer >= 1'):
        SPF(nn.Identity(), **IMAGE, planes=0)
    with pytest.raises(SAPDError, match=r'^image_channels: is 3, the restored image has 1'):
        SPF(nn.Identity(), **IMAGE)(torch.rand(2, 1, 12, 10), mask())
    with pytest.raises(SAPDError, match=r'mask: size \(12, 10\) differs'):
        SPF(nn.Identity(), **IMAGE)(torch.rand(2, 3, 12, 12), mask())
    with pytest.raises(SAPDError, match=r'^network: turns .* into \(2, 3, 24, 20\).*output size'):
        SPF(nn.Upsample(scale_factor=2), **IMAGE)(torch.rand(2, 3, 12, 10), mask())


def test_the_setting_or_the_network_chooses_one_of_several_images():
    y, spf = torch.rand(2, 3, 12, 10), SPF(ScalesNet(), **IMAGE)
    assert torch.equal(spf(y, mask()), spf.network(y)[-1])
    assert torch.equal(spf.eval()(y, mask()), spf.network(y))
    assert image_index(nn.DataParallel(ScalesNet()), None) == -1
    assert image_index(ScalesNet(), 0) == 0
    assert image_index(nn.Identity(), None) is None
    spf.train().output_index = None
    with pytest.raises(SAPDError, match=r'^network: returns list.*output_index'):
        spf(y, mask())
    with pytest.raises(SAPDError, match=r'output_index: found 2, but network returns 2 images'):
        SPF(ScalesNet(), **IMAGE, output_index=2)(y, mask())


def test_the_parameters_of_unused_images_get_a_gradient_of_zero():
    spf, y = SPF(ScalesNet(), **IMAGE), torch.rand(2, 3, 12, 10)
    spf(y, mask()).square().mean().backward()
    assert all(parameter.grad is not None for parameter in spf.parameters())
    assert spf.network.coarse.weight.grad.eq(0).all()
    assert spf.network.fine.weight.grad.ne(0).any()


def test_the_second_network_starts_with_the_weights_of_a_student_with_the_same_parameters():
    student, other = nn.Conv2d(3, 3, 3, padding=1), nn.Conv2d(3, 3, 1)
    spf = SPF(nn.Conv2d(3, 3, 3, padding=1), **IMAGE)
    before = spf.network.weight.clone()
    assert 'starts from scratch' in start_from(spf, other.state_dict(), 'generator')
    assert 'starts from scratch' in start_from(nn.Identity(), student.state_dict(), 'generator')
    assert torch.equal(spf.network.weight, before)
    assert 'the weights of generator' in start_from(spf, student.state_dict(), 'generator')
    restored = torch.rand(2, 3, 12, 10)
    assert torch.equal(spf(restored, mask()), student(restored))


def test_checking_the_branch_builds_no_graph():
    seen = []
    spf = SPF(nn.Conv2d(3, 3, 1), **IMAGE)
    spf.register_forward_hook(lambda module, inputs, output: seen.append(output.requires_grad))
    assert build_branch('network_spf', lambda settings: spf, {}, image_channels=3).training
    assert seen == [False]
