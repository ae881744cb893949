from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from benchmarks.sgr import plain_loop
from sapd_plugin.core import SPF, Distiller, SGRLoss, StepSettings, sgr_loss
from sapd_plugin.core.regions import majority_downsample
from sapd_plugin.errors import SAPDError
from tests.precision import HALF

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


@pytest.mark.parametrize('terms', TERMS)
def test_centred_features_are_compared_without_their_mean_over_the_image(terms):
    features, target, labels = case(3)
    features, target = features + 5, target + 5  # a large common part, as VGG's non-negative features have
    centred = [each - each.mean((2, 3), keepdim=True) for each in (features, target)]
    ours = sgr_loss(features, target, labels, *terms, centre=True)
    assert ours.item() == pytest.approx(plain_loop(*centred, labels, *terms).item(), rel=1e-4)
    if terms == TERMS[0]:  # cosines of what all regions share are near 1
        assert ours > 5 * sgr_loss(features, target, labels, *terms)


def test_gated_relations_count_only_where_the_target_is_nearer_to_the_truth():
    def cells(*cosines):
        """Two cells of features at unit length with this cosine, an image for each."""
        cosine = torch.tensor(cosines)
        second = torch.stack([cosine, (1 - cosine.square()).sqrt()], dim=1)
        return torch.stack([torch.tensor([1.0, 0.0]).expand_as(second), second], dim=2).unsqueeze(2)

    labels = torch.tensor([[[[1, 2]]]]).expand(4, -1, -1, -1)
    y, z, gt = cells(0.0, 0.0, 0.0, 0.0), cells(0.6, 0.6, 0.6, 0.6), cells(1.0, 0.4, 0.2, -1.0)
    y.requires_grad_()
    loss = sgr_loss(y, z, labels, min_region=1, truth=gt)
    loss.backward()
    assert loss.item() == pytest.approx(2 * 0.36 / 4)
    assert y.grad[:2].abs().sum() > 0
    assert y.grad[2:].eq(0).all()


@pytest.mark.parametrize('terms', TERMS)
def test_a_target_that_is_the_truth_counts_everywhere_and_a_perfect_student_nowhere(terms):
    features, target, labels = case(4)
    assert torch.equal(
        sgr_loss(features, target, labels, *terms, truth=target), sgr_loss(features, target, labels, *terms)
    )
    assert sgr_loss(features, target, labels, *terms, truth=features) == 0


def scene(h: int = 48, w: int = 40):
    g = torch.Generator().manual_seed(5)
    y, z, gt = (torch.rand(2, 3, h, w, generator=g) for _ in range(3))
    mask = torch.zeros(2, 1, h, w, dtype=torch.int32)
    mask[:, :, : h // 2] = 1
    mask[:, :, h // 2 :, w // 2 :] = 2
    return y.requires_grad_(), z, gt, mask


def test_the_target_is_the_refined_image_or_the_ground_truth(vgg_weights):
    y, z, gt, mask = scene()
    refined, truth, gated = (SGRLoss(target=target, weights=vgg_weights) for target in ('refined', 'gt', 'gated'))
    assert torch.equal(truth(y, z, mask, gt), refined(y, gt, mask))
    assert torch.equal(gated(y, gt, mask, gt), refined(y, gt, mask))
    assert gated(y, z, mask, y.detach()) == 0
    for loss in (truth, gated):
        with pytest.raises(SAPDError, match=f"target: '{loss.target}' needs the ground truth"):
            loss(y, z, mask)


def test_it_is_due_every_so_many_steps_of_the_optimizer(vgg_weights):
    loss = SGRLoss(weights=vgg_weights, every=3, start=4, ramp=6)
    assert [loss.due(step) for step in range(1, 7)] == [False, False, True, False, False, True]
    for accumulate, expected in ((1, {6: 0.5, 9: 1, 12: 1}), (2, {5: 2 / 6, 6: 3 / 6, 11: 1, 12: 1})):
        settings = StepSettings(every=1, accumulate=accumulate)
        distiller = Distiller(SPF(nn.Conv2d(3, 3, 1), fusion='none'), F.l1_loss, sgr=loss, settings=settings)
        factors = {i: distiller.factor('l_sgr', i) for i in range(1, 13)}
        assert {i: factor for i, factor in factors.items() if factor} == pytest.approx(expected)
    assert SGRLoss(0.0, weights=vgg_weights, every=1).factor(1) == 0


@pytest.mark.parametrize('scale', [0.5, 0.25])
def test_the_analyser_can_see_smaller_images(vgg_weights, scale):
    y, z, _, mask = scene(96, 80)
    loss = SGRLoss(1.0, weights=vgg_weights, image_scale=scale)
    small = [F.avg_pool2d(image, round(1 / scale)) for image in (y, z)]
    features, target = (loss.analyser(image)['relu3_1'] for image in small)
    labels = majority_downsample(mask, round(4 / scale), (round(24 * scale), round(20 * scale)))
    assert torch.equal(loss(y, z, mask), sgr_loss(features, target, labels, centre=True))
    assert torch.autograd.grad(loss(y, z, mask), y)[0].abs().sum() > 0


@pytest.mark.parametrize('dtype', HALF)
@pytest.mark.parametrize('image_scale', [1, 0.5])
def test_autocast_changes_neither_the_loss_nor_its_gradient(vgg_weights, dtype, image_scale):
    y, z, gt, mask = scene()
    loss = SGRLoss(1.0, weights=vgg_weights, target='gated', pixel_weight=1.0, image_scale=image_scale)
    plain = loss(y, z, mask, gt)
    with torch.autocast('cpu', dtype=dtype):
        inside = loss(y, z, mask, gt)
        half = loss(y.to(dtype), z.to(dtype), mask, gt)
    assert torch.equal(inside, plain)
    assert torch.equal(*(torch.autograd.grad(each, y, retain_graph=True)[0] for each in (inside, plain)))
    assert half.dtype == torch.float32
    assert half.item() == pytest.approx(plain.item(), rel=0.05)


def test_deep_layers_can_be_used(tmp_path):
    state, channels = {}, 3
    for block, (width, count) in enumerate(((64, 2), (128, 2), (256, 4), (512, 4), (512, 1))):
        for conv in range(count):
            weight = torch.randn(width, channels, 3, 3, generator=torch.Generator().manual_seed(block * 10 + conv))
            state[f'{block}{conv}.weight'] = weight * (2 / (9 * channels)) ** 0.5
            channels = width
    torch.save(state, tmp_path / 'vgg19.pth')
    y, z, _, mask = scene(96, 96)
    loss = SGRLoss(layers=['relu4_1', 'relu5_1'], weights=tmp_path / 'vgg19.pth')
    parts = [SGRLoss(layers=[layer], weights=tmp_path / 'vgg19.pth')(y, z, mask) for layer in ('relu4_1', 'relu5_1')]
    assert all(part > 0 for part in parts)
    assert loss(y, z, mask).item() == pytest.approx(sum(parts).item())


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


MISTAKES = [
    ({'loss_weight': -1}, 'loss_weight: found -1, expected a number >= 0'),
    ({'edge_weight': -1.0}, 'edge_weight: found -1.0, expected a number >= 0'),
    ({'node_weight': 'one'}, "node_weight: found 'one'"),
    ({'edge_weight': 0}, 'edge_weight, node_weight and pixel_weight: are all 0'),
    ({'min_region': 0}, 'min_region: found 0, expected an integer >= 1'),
    ({'max_regions': 2.0}, 'max_regions: found 2.0, expected an integer >= 1'),
    ({'every': 0}, 'every: found 0, expected an integer >= 1'),
    ({'centre': 'yes'}, "centre: found 'yes', expected true or false"),
    ({'target': 'gate'}, "target: found 'gate', .*Did you mean 'gated'"),
    ({'image_scale': 0.3}, 'image_scale: found 0.3, expected 1, 0.5 or 0.25'),
    ({'balance': 'gradiant'}, "balance: found 'gradiant', .*Did you mean 'gradient'"),
    ({'loss_weight': 10**400}, 'loss_weight: found 1000'),
    ({'layers': []}, r'layers: found \[\], expected a list'),
    ({'layers': 3}, r'layers: found 3, expected a list'),
    ({'layers': [3]}, r'layers: found 3 in the list, expected a name'),
    ({'weights': 3}, r'weights: found 3, expected a path'),
    ({'weights': []}, r'weights: found \[\], expected a path'),
    ({'stop': 5, 'start': 5}, 'stop: found 5, expected an iteration after start'),
]


@pytest.mark.parametrize(('setting', 'message'), MISTAKES, ids=[message[:30] for _, message in MISTAKES])
def test_every_setting_is_checked_and_named_by_its_key(vgg_weights, setting, message):
    with pytest.raises(SAPDError, match=rf'^{message}'):
        SGRLoss(**{'weights': vgg_weights, **setting})


def test_mistakes_are_named(vgg_weights, tmp_path, monkeypatch):
    with pytest.raises(SAPDError, match=r"layers: found 'relu3_9'.*Did you mean 'relu3_"):
        SGRLoss(layers=['relu3_9'], weights=vgg_weights)
    with pytest.raises(SAPDError, match=r'layers: .* ends at relu3_1, so it has no relu4_1'):
        SGRLoss(layers=['relu4_1'], weights=vgg_weights)
    with pytest.raises(SAPDError, match=r'weights: no file .*absent.pth'):
        SGRLoss(weights=tmp_path / 'absent.pth')
    (tmp_path / 'text.pth').write_text('no weights')
    with pytest.raises(SAPDError, match=r'weights: .*text.pth is not a checkpoint'):
        SGRLoss(weights=tmp_path / 'text.pth')
    torch.save([1], tmp_path / 'list.pth')
    with pytest.raises(SAPDError, match=r'weights: .*list.pth holds a list, expected VGG-19 weights'):
        SGRLoss(weights=tmp_path / 'list.pth')
    monkeypatch.delenv('SAPD_VGG_CHECKPOINT', raising=False)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    with pytest.raises(SAPDError, match=r'no VGG-19 weights found.*SAPD_VGG_CHECKPOINT.*vgg19-dcbb9e9d.pth'):
        SGRLoss()
