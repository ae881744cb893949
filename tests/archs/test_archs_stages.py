"""Networks that restore an image in stages or at several scales: the order of their outputs in training."""

from __future__ import annotations

import pytest
import torch

from sapd_plugin.archs import NETWORKS
from tests.archs_tables import TINY

SEVERAL = [name for name, network in NETWORKS.items() if hasattr(network, 'output_index')]


@pytest.mark.parametrize('name', SEVERAL)
def test_testing_returns_the_image_that_output_index_names(name):
    torch.manual_seed(0)
    network = NETWORKS[name](**TINY[name])
    for module in network.modules():
        if isinstance(module, torch.nn.Dropout2d):
            module.p = 0.0
    image = torch.rand(2, 3, 37, 54)
    outputs = network.train()(image)
    assert torch.equal(outputs[network.output_index], network.eval()(image))
    # Stages are not copies of each other.
    assert len({float(output.detach().mean()) for output in outputs}) == len(outputs)


@pytest.mark.parametrize('name', SEVERAL)
def test_each_output_is_added_to_the_image_at_its_scale(name):
    network = NETWORKS[name](**TINY[name]).train()
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    image = torch.rand(2, 3, 37, 54)
    steps = (4, 2, 1) if name.startswith('MIMO') else (1,) * (2 if name == 'HINet' else 3)
    outputs = network(image)
    assert len(outputs) == len(steps)
    for step, output in zip(steps, outputs):
        assert torch.equal(output, image[..., ::step, ::step])


def test_plus_drops_channels_in_training_alone():
    torch.manual_seed(0)
    network, image = NETWORKS['MIMOUNetPlus'](**TINY['MIMOUNetPlus']), torch.rand(1, 3, 16, 16)
    assert not torch.equal(network(image)[-1], network(image)[-1])
    assert torch.equal(network.eval()(image), network(image))


def test_mprnet_s_stages_see_quarters_halves_and_the_whole():
    torch.manual_seed(0)
    network = NETWORKS['MPRNet'](**TINY['MPRNet']).train()
    image = torch.rand(1, 3, 32, 32)
    other = image.clone()
    other[..., :16, :16] += 0.5
    third, second, first = ((a - b).abs().sum(1)[0] for a, b in zip(network(image), network(other)))
    # The first stage's decoder works on halves, so the change stays in the upper one.
    assert first[:16].min() > 0
    assert first[16:].max() == 0
    assert second[16:].max() > 0
    assert third[16:].max() > 0


def test_mprnet_for_deraining_has_its_authors_size():
    """The number is counted in the authors' code (github.com/swz30/MPRNet, Deraining)."""
    with torch.device('meta'):
        network = NETWORKS['MPRNet'](n_feat=40, scale_unetfeats=20, scale_orsnetfeats=16)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_637_249


@pytest.mark.parametrize('size', [(16, 16), (3, 16), (1, 1)])
def test_hinet_takes_images_of_one_pixel_at_the_lowest_level(size):
    image = torch.rand(1, 3, *size)
    assert NETWORKS['HINet'](wf=4).eval()(image).shape == image.shape


def test_restormer_for_two_views():
    settings = {**TINY['Restormer'], 'inp_channels': 6, 'dual_pixel_task': True}
    network = NETWORKS['Restormer'](**settings)
    assert network(torch.rand(1, 6, 13, 18)).shape == (1, 3, 13, 18)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    assert network(torch.rand(1, 6, 16, 16)).abs().max() == 0
