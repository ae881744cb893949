from __future__ import annotations

import pytest
import torch

from benchmarks.sgr import plain_loop
from sapd_plugin.core import SGRLoss, sgr_loss
from sapd_plugin.errors import SAPDError

TERMS = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (0.5, 2.0, 0.25)]


def case(seed: int = 0, dtype: torch.dtype = torch.float32, n: int = 3, c: int = 8, h: int = 16, w: int = 13):
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(n, c, h, w, generator=g, dtype=dtype)
    target = torch.randn(n, c, h, w, generator=g, dtype=dtype)
    labels = torch.randint(0, 9, (n, 1, h, w), generator=g, dtype=torch.int32)
    labels[0, :, :, 5:] = 0
    return features, target, labels


@pytest.mark.parametrize('terms', TERMS)
def test_equals_the_plain_loop(terms):
    features, target, labels = case()
    ours_in, loop_in = features.clone().requires_grad_(), features.clone().requires_grad_()
    ours, loop = sgr_loss(ours_in, target, labels, *terms), plain_loop(loop_in, target, labels, *terms)
    assert ours.item() == pytest.approx(loop.item(), abs=1e-5)
    ours.backward()
    loop.backward()
    assert torch.allclose(ours_in.grad, loop_in.grad, atol=1e-5)
    assert loop_in.grad.abs().max() > 0


@pytest.mark.parametrize('terms', TERMS)
def test_gradcheck(terms):
    features, target, labels = case(1, torch.float64, 2, 3, 5, 4)
    assert torch.autograd.gradcheck(
        lambda f: sgr_loss(f, target, labels, *terms, min_region=1), (features.requires_grad_(),)
    )


def test_the_target_gets_no_gradient_and_equal_features_have_no_loss():
    features, target, labels = case()
    target.requires_grad_()
    sgr_loss(features.requires_grad_(), target, labels, 1.0, 1.0, 1.0).backward()
    assert target.grad is None
    assert sgr_loss(features, features, labels, 1.0, 1.0, 1.0).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize('terms', TERMS)
def test_mean_of_half_batches_is_the_whole(terms):
    features, target, labels = case(2, torch.float64, n=4)
    labels[3] = 0  # an image without regions counts as 0
    whole = sgr_loss(features, target, labels, *terms)
    halves = [sgr_loss(features[i : i + 2], target[i : i + 2], labels[i : i + 2], *terms) for i in (0, 2)]
    assert whole.item() == pytest.approx(sum(halves).item() / 2, rel=1e-12)


def test_without_regions_the_loss_is_zero_and_still_differentiable():
    features, target, labels = case()
    loss = sgr_loss(features.requires_grad_(), target, labels * 0)
    loss.backward()
    assert loss.item() == 0
    assert features.grad.eq(0).all()


def test_half_precision_features_are_compared_in_float32():
    features, target, labels = case()
    assert sgr_loss(features.half(), target.half(), labels).dtype == torch.float32
    with torch.autocast('cpu', dtype=torch.bfloat16):
        inside = sgr_loss(features, target, labels)
    assert torch.equal(inside, sgr_loss(features, target, labels))


def test_the_module_applies_its_weight_and_has_no_parameters_to_train(vgg_weights):
    loss, half = (SGRLoss(weight, ['relu2_2', 'relu3_1'], vgg_weights) for weight in (2.0, 1.0))
    y = torch.rand(2, 3, 48, 40, requires_grad=True)
    z = torch.rand(2, 3, 48, 40)
    mask = torch.zeros(2, 1, 48, 40, dtype=torch.int32)
    mask[:, :, :24] = 1
    mask[:, :, 24:, 20:] = 2
    value = loss(y, z, mask)
    value.backward()
    assert value.item() > 0
    assert y.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in loss.parameters())
    assert value.item() == pytest.approx(2 * half(y, z, mask).item())


def test_mistakes_are_named(vgg_weights, tmp_path, monkeypatch):
    with pytest.raises(SAPDError, match='all 0'):
        SGRLoss(edge_weight=0)
    with pytest.raises(SAPDError, match=r"layers: found 'relu3_9'.*Did you mean 'relu3_"):
        SGRLoss(layers=['relu3_9'], weights=vgg_weights)
    with pytest.raises(SAPDError, match=r'layers: .* ends at relu3_1, so it has no relu4_1'):
        SGRLoss(layers=['relu4_1'], weights=vgg_weights)
    with pytest.raises(SAPDError, match=r'weights: no file .*absent.pth'):
        SGRLoss(weights=tmp_path / 'absent.pth')
    monkeypatch.delenv('SAPD_VGG_CHECKPOINT', raising=False)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(SAPDError, match=r'no VGG-19 weights found.*SAPD_VGG_CHECKPOINT.*vgg19-dcbb9e9d.pth'):
        SGRLoss()
