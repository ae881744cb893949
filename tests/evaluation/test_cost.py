"""Cost of inference: counts by hand (of published networks: tests/archs), and a SAPD student beside the stock one."""

from __future__ import annotations

import json
import re

import pytest
import torch
from torch import nn

from sapd_plugin.cli import inference_cost
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.cost import compare, count_macs
from sapd_plugin.evaluation.networks import build_network_from, load_student
from tests.networks import DropoutNet
from tests.photos import ROOT

EDSR = ROOT / 'configs/basicsr/sr/edsr_m_x4_stock.yml'


class Attention(nn.Module):
    """Attention over the 16 pixels of a 4x4 image, 8 channels, in a way of its own each."""

    def __init__(self, kind):
        super().__init__()
        self.kind, self.heads = kind, nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, image):
        x = image.flatten(2).transpose(1, 2)
        if self.kind == 'heads':
            return self.heads(x, x, x, need_weights=False)[0]
        if self.kind == 'einsum':
            return torch.einsum('bij,bjc->bic', torch.einsum('bic,bjc->bij', x, x).softmax(-1), x)
        if self.kind == 'fused':
            return nn.functional.scaled_dot_product_attention(x[:, None], x[:, None], x[:, None])
        return (x @ x.transpose(1, 2)).softmax(-1) @ x


class Padded(nn.Module):
    """Pads to multiples of 8, as far as this image needs, and returns several images."""

    def __init__(self):
        super().__init__()
        self.body = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image):
        height, width = image.shape[2:]
        padded = nn.functional.pad(image, (0, -width % 8, 0, -height % 8))
        return [self.body(padded)[..., :height, :width], image]


def measure(network, shape, **settings):
    return compare({'network': network}, shape, **settings)['network']


def test_edsr_has_the_published_macs_and_parameters():
    # 1.52 million and 114.0 G "Mult-Adds" for a 1280x720 result: as listed for EDSR-baseline x4 in the tables of papers
    # on light networks (CARN, ECCV 2018, and later).
    network = build_network_from('basicsr', EDSR)
    assert sum(p.numel() for p in network.parameters()) == 1_517_571
    assert count_macs(network, (1, 3, 18, 32)) * 100 / 1e9 == pytest.approx(114.0, rel=0.005)


def test_convolutions_and_linear_layers_are_counted_by_hand():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.Conv2d(8, 8, 3, padding=1, groups=8),
        nn.ConvTranspose2d(8, 4, 2, 2),
        nn.Linear(20, 5),
    )
    pixels = 10 * 10
    expected = pixels * 3 * 8 * 9 + pixels * 8 * 9 + pixels * 8 * 4 * 4 + 4 * 20 * 20 * 5
    assert count_macs(network, (1, 3, 10, 10)) == expected
    assert count_macs(network, (2, 3, 10, 10)) == 2 * expected


@pytest.mark.parametrize('kind', ['matmul', 'einsum', 'fused', 'heads'])
def test_attention_is_counted_however_it_is_written(kind):
    products = 2 * 16 * 16 * 8
    projections = 16 * 8 * 32 if kind == 'heads' else 0
    assert count_macs(Attention(kind).eval(), (1, 8, 4, 4)) == products + projections


def test_data_dependent_padding_and_several_outputs():
    cost = measure(Padded(), (1, 3, 13, 17), repeats=1)
    assert cost.macs == 16 * 24 * 3 * 3 * 9
    assert cost.parameters == 84


def test_measuring_leaves_the_network_and_torch_as_they_were():
    network = DropoutNet().train()
    network.body[1].eval()
    before, threads = {k: v.clone() for k, v in network.state_dict().items()}, torch.get_num_threads()
    cost = measure(network, (2, 3, 16, 16), repeats=1, threads=threads + 1)
    assert cost.threads == threads + 1
    assert torch.get_num_threads() == threads
    assert network.training
    assert network.body[3].training
    assert not network.body[1].training
    assert all(torch.equal(before[key], value) for key, value in network.state_dict().items())
    assert all(p.grad is None for p in network.parameters())


@pytest.mark.skipif(not torch.cuda.is_available(), reason='peak memory is measured on GPUs')
def test_memory_is_that_of_the_inference_alone():
    # 64 planes of 512x512 floats are 64 MiB.
    cost = measure(nn.Conv2d(3, 64, 1, bias=False).cuda(), (1, 3, 512, 512), repeats=1)
    assert 64 * 2**20 <= cost.memory < 150 * 2**20


def test_a_sapd_student_costs_what_the_stock_one_costs(tmp_path, capsys):
    torch.manual_seed(0)
    files = []
    for name in ('stock', 'sapd'):
        network = build_network_from('basicsr', EDSR)
        files.append(tmp_path / f'{name}.pth')
        torch.save({'params': network.state_dict()}, files[-1])
    sapd_config = str(EDSR).replace('_stock', '_sapd')
    command = ['--framework', 'basicsr', sapd_config, *map(str, files), '--size', '24', '32', '--size', '40', '40']
    assert inference_cost.main([*command, '--repeats', '1', '--json']) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row['network'] for row in rows] == [*map(str, files)] * 2
    for stock, sapd in (rows[:2], rows[2:]):
        assert stock['macs'] == sapd['macs'] > 0
        assert stock['parameters'] == sapd['parameters'] == 1_517_571
        assert stock['shape'] == sapd['shape']
        assert {'milliseconds', 'device', 'threads'} < stock.keys()
        assert stock['memory'] is None


def test_the_table(capsys):
    command = ['--framework', 'basicsr', str(EDSR), '--size', '16', '20', '--threads', '1', '--repeats', '1']
    assert inference_cost.main(command) == 0
    head, _, row, _, note = capsys.readouterr().out.splitlines()
    assert head.startswith('| network | input | parameters | MACs (G) |')
    assert row.startswith(f'| {EDSR.stem} | 16x20 | 1,517,571 | 0.635 | ')
    assert row.endswith('| - |')
    assert note.startswith('cpu, 1 threads; torch ')


def test_mmagic_networks_and_checkpoints(tmp_path):
    from mmengine.logging import HistoryBuffer

    config = ROOT / 'configs/mmagic/sr/edsr_x4_div2k_sapd.py'
    network = build_network_from('mmagic', config)
    state = {f'generator.{key}': torch.full_like(value, 0.5) for key, value in network.state_dict().items()}
    hub = {'log_scalars': {'train/loss': HistoryBuffer([0.5, 0.25], [1, 1])}}  # as MMEngine saves it beside the weights
    saved = {'state_dict': {**state, 'step_counter': torch.tensor(1)}, 'meta': {}, 'message_hub': hub}
    torch.save(saved, tmp_path / 'iter_1.pth')
    load_student(network, tmp_path / 'iter_1.pth')
    assert all(bool((p == 0.5).all()) for p in network.parameters())
    assert compare({'a': network}, (1, 3, 16, 16), repeats=1)['a'].parameters == 1_517_571


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (['absent.yml'], r'config: found no file absent.yml'),
        ([str(EDSR), 'absent.pth'], r'no file absent.pth'),
        ([str(EDSR), '--repeats', '0'], r'--repeats: found 0, expected an integer >= 1'),
        ([str(EDSR), '--device', 'cuda:99'], r'--device: found cuda:99'),
        ([str(EDSR), '--channels', '5'], r'EDSR: found an image \(1, 5, 256, 256\)'),
        ([str(ROOT / 'pyproject.toml')], r'pyproject.toml: '),
    ],
)
def test_mistakes(arguments, message, capsys):
    assert inference_cost.main(['--framework', 'basicsr', *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_weights_of_another_network(tmp_path):
    torch.save({'params': nn.Conv2d(3, 3, 1).state_dict()}, tmp_path / 'other.pth')
    with pytest.raises(SAPDError, match=r'other.pth: its weights are not of EDSR: .*Missing key'):
        load_student(build_network_from('basicsr', EDSR), tmp_path / 'other.pth')


def test_it_shows_each_step_with_a_total(capsys):
    command = [str(EDSR), '--size', '16', '20', '--size', '8', '8', '--threads', '1', '--repeats', '2']
    assert inference_cost.main(command) == 0
    bar = [line for line in capsys.readouterr().err.splitlines() if line.startswith('inference cost:')]
    assert '0/9 [' in bar[0]
    assert f'build {EDSR.stem}]' in bar[1]
    for what in (f'count MACs of {EDSR.stem} at 16x20]', 'time at 16x20]', 'time at 8x8]'):
        assert any(line.endswith(what) for line in bar)
    assert '9/9 [' in bar[-1]
