from __future__ import annotations

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from sapd_plugin.core import VGG19Features
from sapd_plugin.errors import SAPDError
from tests.photos import photographs
from tests.precision import HALF


def test_torchvision_weights_give_torchvision_features(tmp_path):
    torch.manual_seed(0)
    stock = torchvision.models.vgg19(weights=None).eval()
    state = {k: v for k, v in stock.state_dict().items() if k.startswith('features.')}
    torch.save(state, tmp_path / 'vgg19.pth')
    ours = VGG19Features(['relu1_2', 'relu3_4', 'relu5_4'], tmp_path / 'vgg19.pth')
    image = torch.rand(2, 3, 37, 50)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = (image - mean.view(1, 3, 1, 1)) / std.view(1, 3, 1, 1)
    features = ours(image)
    for index, module in enumerate(stock.features):
        expected = module(expected)
        for layer, at in (('relu1_2', 3), ('relu3_4', 17), ('relu5_4', 35)):
            if index == at:
                assert (features[layer] - expected).abs().max() < 1e-5 * expected.abs().max()
    assert list(features) == ['relu1_2', 'relu3_4', 'relu5_4']


def test_the_names_of_keys_do_not_matter(tmp_path, vgg_weights):
    state = torch.load(vgg_weights, weights_only=True)
    renamed = {f'net.conv{n // 2}.{k.rpartition(".")[2]}': v for n, (k, v) in enumerate(state.items())}
    torch.save({'state_dict': renamed}, tmp_path / 'renamed.pth')
    image = torch.rand(1, 3, 24, 24)
    a, b = (VGG19Features(['relu3_1'], path)(image)['relu3_1'] for path in (vgg_weights, tmp_path / 'renamed.pth'))
    assert torch.equal(a, b)


def test_a_different_network_is_refused(tmp_path):
    vgg16 = torchvision.models.vgg16(weights=None).features.state_dict()
    torch.save(vgg16, tmp_path / 'vgg16.pth')
    VGG19Features(['relu3_3'], tmp_path / 'vgg16.pth')  # the same network up to here
    with pytest.raises(
        SAPDError, match=r'vgg16.pth is not a VGG-19: expected .*256, 256.* before relu3_4, found .*512, 256'
    ):
        VGG19Features(['relu4_1'], tmp_path / 'vgg16.pth')


def test_normalised_weights_load_and_have_mean_activation_about_one(calibration_data):
    """Its layers were scaled so that each channel's mean activation over natural images is 1."""
    photo = torch.from_numpy(photographs()['001']).permute(2, 0, 1)[None].float() / 255
    weights = calibration_data / 'weights/vgg19_normalised_to_relu3_1.pth'
    features = VGG19Features(['relu1_1', 'relu2_1', 'relu3_1'], weights)(photo)
    assert {k: v.shape[1] for k, v in features.items()} == {'relu1_1': 64, 'relu2_1': 128, 'relu3_1': 256}
    for layer, feature in features.items():
        assert 0.3 < feature.mean().item() < 3, layer


def test_weights_that_start_with_a_1x1_convolution_are_padded_by_reflection(vgg_weights, tmp_path):
    before = nn.Conv2d(3, 3, 1)
    state = torch.load(vgg_weights, weights_only=True)
    torch.save({'0.weight': before.weight, '0.bias': before.bias, **state}, tmp_path / 'normalised.pth')
    image = torch.rand(1, 3, 17, 20)
    with torch.no_grad():
        x = before(image)
        for index in (0, 2, 5):
            x = F.conv2d(F.pad(x, (1, 1, 1, 1), 'reflect'), state[f'features.{index}.weight']).relu()
            x = F.max_pool2d(x, 2, ceil_mode=True) if index == 2 else x
    found = VGG19Features(['relu2_1'], tmp_path / 'normalised.pth')(image)['relu2_1']
    torch.testing.assert_close(found, x)


def test_reflection_without_pytorch_s_own_kernel_is_the_same(vgg_weights, tmp_path):
    """The kernel has no deterministic backward pass on CUDA."""
    before = nn.Conv2d(3, 3, 1)
    state = torch.load(vgg_weights, weights_only=True)
    torch.save({'0.weight': before.weight, '0.bias': before.bias, **state}, tmp_path / 'normalised.pth')
    analyser = VGG19Features(['relu3_1'], tmp_path / 'normalised.pth')
    image = torch.rand(1, 3, 18, 20, requires_grad=True)
    expected = analyser(image)['relu3_1']
    expected_gradient = torch.autograd.grad(expected.square().sum(), image)[0]
    torch.use_deterministic_algorithms(True)
    try:
        found = analyser(image)['relu3_1']
        gradient = torch.autograd.grad(found.square().sum(), image)[0]
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(found, expected)
    torch.testing.assert_close(gradient, expected_gradient)
    assert 'ReflectionPad' not in _operations(found)
    assert 'ReflectionPad' in _operations(expected)


def _operations(output):
    """The names of the backward functions that lead to a tensor."""
    names, functions = [], [output.grad_fn]
    while functions:
        function = functions.pop()
        names.append(function.name())
        functions += [each for each, _ in function.next_functions if each is not None]
    return ' '.join(names)


@pytest.mark.parametrize('dtype', HALF)
def test_features_are_float32_whatever_the_image_and_the_autocast(vgg_weights, dtype):
    analyser = VGG19Features(['relu1_1', 'relu3_1'], vgg_weights)
    image = torch.rand(1, 3, 16, 16).to(dtype).requires_grad_()
    with torch.autocast('cpu', dtype=dtype):
        features = analyser(image)
    for layer, expected in analyser(image.float()).items():
        assert torch.equal(features[layer], expected)
        assert features[layer].dtype == torch.float32
    features['relu3_1'].sum().backward()
    assert image.grad.dtype == dtype


def test_frozen_in_every_mode_but_differentiable(vgg_weights):
    analyser = VGG19Features(['relu3_1'], vgg_weights).train()
    assert not analyser.training
    assert not any(p.requires_grad for p in analyser.parameters())
    image = torch.rand(1, 3, 16, 16, requires_grad=True)
    analyser(image)['relu3_1'].sum().backward()
    assert image.grad.abs().sum() > 0


def test_stride_is_image_pixels_per_cell(vgg_weights):
    analyser = VGG19Features(['relu1_2', 'relu2_2', 'relu3_1'], vgg_weights)
    for layer, feature in analyser(torch.rand(1, 3, 32, 32)).items():
        assert feature.shape[-1] * analyser.stride(layer) == 32
