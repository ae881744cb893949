"""Properties of every network of NETWORKS, and the published sizes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from sapd_plugin.archs import NETWORKS
from sapd_plugin.archs.layers import pad_to_multiple
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.cost import count_macs
from tests.archs_tables import PUBLISHED, TINY


def tiny(name: str) -> nn.Module:
    """A small network with random parameters, because some start at zero and would hide errors."""
    torch.manual_seed(0)
    network = NETWORKS[name](**TINY[name])
    for parameter in network.parameters():
        if parameter.requires_grad:
            nn.init.normal_(parameter, std=0.2)
    return network


def test_every_network_has_tiny_settings():
    assert TINY.keys() == NETWORKS.keys(), 'each network needs a line in tests/archs_tables.py'


@pytest.mark.parametrize('row', PUBLISHED, ids=lambda row: f'{row.name} {row.parameters}')
def test_sizes_are_as_published(row):
    with torch.device('meta'):
        network = NETWORKS[row.name](**row.settings).eval()
    assert sum(p.numel() for p in network.parameters()) == row.parameters
    assert count_macs(network, (1, *row.size)) / 1e9 == pytest.approx(row.macs, rel=row.tolerance)


@pytest.mark.parametrize('size', [(37, 54), (5, 7)])
@pytest.mark.parametrize('name', NETWORKS)
def test_the_output_has_the_size_of_the_image_and_several_images_come_in_training_only(name, size):
    network, image = tiny(name), torch.rand(2, 3, *size)
    restored = network.eval()(image)
    assert restored.shape == image.shape
    assert torch.isfinite(restored).all()
    outputs = network.train()(image)
    index = getattr(network, 'output_index', None)
    assert isinstance(outputs, Tensor) == (index is None)
    assert (outputs if index is None else outputs[index]).shape == image.shape


@pytest.mark.parametrize('name', NETWORKS)
def test_the_gradient_reaches_every_parameter(name):
    network = tiny(name).train()
    outputs = network(torch.rand(2, 3, 37, 54))
    images = [outputs] if isinstance(outputs, Tensor) else outputs
    sum((image * torch.randn_like(image)).sum() for image in images).backward()
    assert [n for n, p in network.named_parameters() if p.requires_grad and not p.grad.abs().sum() > 0] == []


@pytest.mark.parametrize('name', NETWORKS)
def test_the_state_dict_holds_the_whole_network(name):
    network, other = tiny(name), NETWORKS[name](**TINY[name])
    other.load_state_dict(network.state_dict(), strict=True)
    image = torch.rand(1, 3, 16, 24)
    assert torch.equal(network.eval()(image), other.eval()(image))


WRONG = [
    ('NAFNet', {'width': 0}, 'NAFNet.width: found 0, expected an integer >= 1'),
    (
        'NAFNet',
        {'enc_blk_nums': [1, 0], 'dec_blk_nums': [1, 1]},
        r'NAFNet.enc_blk_nums: found 0, expected an integer >= 1',
    ),
    ('NAFNet', {'enc_blk_nums': [1, 1]}, 'NAFNet.dec_blk_nums: found 0 levels, expected 2'),
    ('NAFNetLocal', {'train_size': [256, 0.5]}, r'NAFNetLocal.train_size: found 0.5, expected an integer >= 1'),
    ('Restormer', {'dim': 9}, 'Restormer.dim: found 9, expected an even number'),
    ('Restormer', {'heads': [1, 2, 5, 8]}, r'Restormer.dim: found 48, .* heads, \[1, 2, 5, 8\], divide'),
    ('Restormer', {'num_blocks': [1, 1]}, r'Restormer.num_blocks: found \[1, 1\], expected four numbers'),
    ('Restormer', {'out_channels': 1}, r'Restormer.out_channels: found 1, expected inp_channels \(3\)'),
    ('Restormer', {'LayerNorm_type': 'Bias'}, "Restormer.LayerNorm_type: found 'Bias', expected one of WithBias"),
    ('HINet', {'wf': 5}, 'HINet.wf: found 5, expected an even number'),
    ('HINet', {'depth': 0}, 'HINet.depth: found 0, expected an integer >= 1'),
    ('MPRNet', {'out_c': 1}, 'MPRNet.out_c: found 1, expected 3, as in_c'),
    ('MPRNet', {'n_feat': 3}, 'MPRNet: found reduction 4, n_feat 3'),
    ('MPRNet', {'kernel_size': 2}, 'MPRNet: .* kernel_size 2, expected .* odd'),
    ('MIMOUNet', {'base_channel': 1}, 'MIMOUNet.base_channel: found 1, expected an integer >= 2'),
    ('MIMOUNetPlus', {'num_res': 0}, 'MIMOUNetPlus.num_res: found 0, expected an integer >= 1'),
    ('PReNet', {'recurrent_iter': 0}, 'PReNet.recurrent_iter: found 0, expected an integer >= 1'),
    ('PRN_r', {'width': 'wide'}, "PRN_r.width: found 'wide', expected an integer >= 1"),
    ('DnCNN', {'nb': 1}, 'DnCNN.nb: found 1, expected an integer >= 2'),
    ('DnCNN', {'act_mode': 'RB'}, "DnCNN.act_mode: found 'RB', expected one of BR, R"),
    ('DnCNN', {'in_nc': 3}, 'DnCNN.out_nc: found 1, expected 3, as in_nc'),
    ('FFDNet', {'sigma': -1}, 'FFDNet.sigma: found -1, expected a number of at least 0, on the 0-255 scale'),
    ('FFDNet', {'sigma': '25'}, "FFDNet.sigma: found '25', expected a number"),
    ('FFDNet', {'out_nc': 3}, 'FFDNet.out_nc: found 3, expected 1, as in_nc'),
    ('RCAN', {'scale': 5}, 'RCAN.scale: found 5, expected one of 1, 2, 3, 4, 8'),
    ('RCAN', {'n_feats': 8}, 'RCAN.reduction: found 16, expected at most n_feats, 8'),
]


@pytest.mark.parametrize(('name', 'settings', 'message'), WRONG)
def test_wrong_settings_are_refused(name, settings, message):
    with pytest.raises(SAPDError, match=message):
        NETWORKS[name](**settings)


def test_padding():
    image = torch.arange(12.0).view(1, 1, 3, 4)
    assert pad_to_multiple(image, 1) is image
    reflected = pad_to_multiple(image, 5)
    assert reflected.shape == (1, 1, 5, 5)
    assert torch.equal(reflected[0, 0, :, 0], torch.tensor([0.0, 4, 8, 4, 0]))
    assert torch.equal(pad_to_multiple(image, 8)[0, 0, 0], torch.tensor([0.0, 1, 2, 3, 3, 3, 3, 3]))  # too small
    assert pad_to_multiple(image, 5, 'constant')[..., 3:, :].sum() == 0
