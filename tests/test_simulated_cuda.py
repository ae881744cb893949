"""The simulated device itself: it computes as the CPU does, and follows CUDA's rules."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils._pytree import tree_map

from tests.simulated_cuda import SimulatedTensor, needs_simulation, simulated_cuda

pytestmark = needs_simulation


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 3, 3, padding=1))


def trained(device: str) -> dict[str, Tensor]:
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).to(device)
    net = network().to(device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        F.mse_loss(net(images), images).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 0.01)
        optimizer.step()
    return net.state_dict()


def test_a_training_equals_that_of_the_cpu() -> None:
    expected = trained('cpu')
    with simulated_cuda() as device:
        state = trained('cuda')
        assert all(isinstance(value, SimulatedTensor) and value.is_cuda for value in state.values())
        found = {name: value.cpu() for name, value in state.items()}
        assert device.operations > 100
    assert {name: torch.equal(found[name], value) for name, value in expected.items()} == dict.fromkeys(expected, True)


def test_copies_stay_on_the_device() -> None:
    with simulated_cuda():
        net = copy.deepcopy(network().to('cuda'))
        again = network().to('cuda')
        again.load_state_dict(net.state_dict())
        assert all(isinstance(p, SimulatedTensor) for p in [*net.parameters(), *again.parameters()])
        assert torch.rand(2, device='cuda').device == torch.tensor([1], device='cuda').device == torch.device('cuda:0')


def put(x: Tensor, index: Any) -> Tensor:
    x[index] = 5.0
    return x


WAITS: dict[str, tuple[Callable[[Tensor], object], int]] = {
    'item': (lambda x: x[0].item(), 1),
    'bool': (lambda x: bool(x.isfinite().all()), 1),
    'tolist': (lambda x: x.tolist(), 1),
    'cpu': (lambda x: x.cpu(), 1),
    'copy into a tensor of the CPU': (lambda x: torch.zeros(4).copy_(x), 1),
    'equal': (lambda x: torch.equal(x, x), 1),
    'nonzero': (lambda x: x.nonzero(), 1),
    'where': (lambda x: torch.where(x > 2), 1),
    'unique': (lambda x: x.unique(), 1),
    'bincount': (lambda x: x.long().bincount(), 2),
    'index by a mask': (lambda x: x[x > 2], 1),
    'index by a list': (lambda x: x[[1, 2]], 1),
    'index by a tensor of the CPU': (lambda x: x[torch.tensor([1, 2])], 1),
    'new tensor of numbers': (lambda x: x + x.new_tensor([7.0]), 1),
    'put values at a mask': (lambda x: x.index_put_((x > 1,), x[:2] + 1), 1),
    'copy to the device': (lambda x: torch.ones(4).to(x.device), 1),
    'copy into a tensor of the device': (lambda x: x.copy_(torch.ones(4)), 1),
    'tensor of numbers': (lambda x: torch.tensor([1.0, 2.0], device=x.device), 1),
    'copy to the device that may run behind': (lambda x: torch.ones(4).to(x.device, non_blocking=True), 0),
    'put one value at a mask': (lambda x: put(x, x > 2), 0),
    'put one value': (lambda x: put(x, 1), 0),
    'arithmetic': (lambda x: (x.outer(x) + 2 * x.sum()).clamp(min=0).sort().values[1:], 0),
    'index by a tensor': (lambda x: x[x.argsort()], 0),
    'scatter': (lambda x: torch.zeros(4, device=x.device).scatter_add_(0, x.long(), x), 0),
    'select by a condition': (lambda x: torch.where(x > 2, x, 0.0), 0),
}


@pytest.mark.parametrize('name', WAITS)
def test_what_waits_is_counted_and_the_result_is_that_of_the_cpu(name: str) -> None:
    action, expected = WAITS[name]
    with simulated_cuda() as device:
        x = torch.tensor([0.0, 1, 2, 3]).to('cuda')
        device.reset()
        found = action(x)
        assert sum(device.waits.values()) == expected, device.listing()
        found = tree_map(lambda value: value.cpu() if isinstance(value, Tensor) else value, found)
    torch.testing.assert_close(found, action(torch.tensor([0.0, 1, 2, 3])), rtol=0, atol=0)


MIXED: dict[str, Callable[[Tensor], object]] = {
    'sum': lambda x: x + torch.ones(4),
    'convolution': lambda x: F.conv1d(x[None, None], torch.ones(1, 1, 2)),
    'loss': lambda x: F.l1_loss(torch.ones(4), x),
    'concatenation': lambda x: torch.cat([x, torch.ones(1)]),
    'in place': lambda x: torch.ones(4).mul_(x),
    'module': lambda x: nn.Linear(4, 1)(x),
}


@pytest.mark.parametrize('name', MIXED)
def test_tensors_of_two_devices_do_not_mix(name: str) -> None:
    with simulated_cuda():
        x = torch.ones(4).to('cuda')
        with pytest.raises(RuntimeError, match='same device, but found cuda:0 and cpu'):
            MIXED[name](x)
        assert (x * torch.tensor(2.0)).tolist() == [2.0] * 4  # a single number may
        with pytest.raises(TypeError, match=r'Use Tensor.cpu\(\) first'):
            x.numpy()


def test_nothing_is_left_behind() -> None:
    with simulated_cuda():
        x = torch.ones(2).to('cuda')
    with pytest.raises(RuntimeError, match='outside of simulated_cuda'):
        x + 1
    net = network()
    assert type(net.double()[0].weight) is nn.Parameter
    with torch.inference_mode():
        assert torch.ones(1).is_inference()
