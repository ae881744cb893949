"""What one inference costs: parameters, multiply-accumulates, time, memory."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.timing import medians_ms


@dataclass(frozen=True)
class Cost:
    """Of one inference.

    Attributes:
        parameters: numbers in the network's parameters.
        macs: multiply-accumulates, see `count_macs`. Papers often call them FLOPs; FLOPs proper are twice as many.
        milliseconds: median wall time of several runs after one to warm up.
        memory: peak bytes above the loaded network and its input. On a CPU of a fresh process, the first run's
            (what libraries set up is counted); on a GPU what torch allocated. None: not measured.
        shape: of the input, (N,C,h,w).
        device: 'cpu', or the GPU's name.
        threads: of torch on the CPU.
    """

    parameters: int
    macs: int
    milliseconds: float
    memory: int | None
    shape: tuple[int, ...]
    device: str
    threads: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        return {**asdict(self), 'shape': list(self.shape)}


def measure(
    network: nn.Module, shape: Sequence[int], *, repeats: int = 5, threads: int | None = None, memory: bool = True
) -> Cost:
    """Measure one network, where its parameters are, in eval mode. See `compare`."""
    return compare({'network': network}, shape, repeats=repeats, threads=threads, memory=memory)['network']


def compare(
    networks: Mapping[str, nn.Module],
    shape: Sequence[int],
    *,
    repeats: int = 5,
    threads: int | None = None,
    memory: bool = True,
) -> dict[str, Cost]:
    """Measure networks side by side: timed in turn, so that a drifting machine hits all alike.

    Args:
        networks: by name. Each takes one image (N,C,h,w) of 0..1 and returns what it likes. They are left as they
            were, in their mode.
        shape: of the image.
        repeats: runs that each median is taken over.
        threads: of torch on the CPU; by default as many as it has now.
        memory: measure it, too. On a CPU this starts a process for each network, which has to import its class.

    Raises:
        SAPDError: where a network does not take such an image, or cannot be handed to a process of its own.
    """
    threads = threads or torch.get_num_threads()
    shape = tuple(int(length) for length in shape)
    inputs = {name: torch.rand(shape, device=_device(network)) for name, network in networks.items()}
    with contextlib.ExitStack() as stack:
        stack.enter_context(_threads(threads))
        for network in networks.values():
            stack.enter_context(_eval(network))
        macs = {name: count_macs(network, shape) for name, network in networks.items()}
        runs = [_run(network, inputs[name]) for name, network in networks.items()]
        times = medians_ms(runs, repeats)
        peaks = {
            name: _peak_memory(network, inputs[name], threads) if memory else None for name, network in networks.items()
        }
    return {
        name: Cost(
            parameters=sum(p.numel() for p in network.parameters()),
            macs=macs[name],
            milliseconds=milliseconds,
            memory=peaks[name],
            shape=shape,
            device=_name(inputs[name].device),
            threads=threads,
        )
        for (name, network), milliseconds in zip(networks.items(), times)
    }


def count_macs(network: nn.Module, shape: Sequence[int]) -> int:
    """Count the multiply-accumulates of one image: convolutions, linear layers and matrix products (attention, einsum).

    Element-wise work is left out: biases, activations, normalisation, resizing. So are products that a compiled
    operator of an extension hides (deformable convolution). Half of what torch.utils.flop_counter counts. A network on
    the device 'meta' is counted without being computed.

    Published figures may differ: some leave out the products of attention (Restormer: 141 G of 155 G at 256x256),
    others seem to count a transposed convolution at its output's size (HINet: 171 G for 158 G).

    Args:
        network: in the mode that it is to be counted in.
        shape: of the image, (N,C,h,w), 0..1.

    Raises:
        SAPDError: where the network does not take such an image.
    """
    image = torch.rand(tuple(shape), device=_device(network))
    counter = FlopCounterMode(display=False)
    # Fused attention has operators that the counter does not know: on a CPU it would count nothing.
    with torch.no_grad(), _plain_attention(), counter:
        try:
            network(image)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = ' '.join(str(error).split())[:500]
            raise SAPDError(
                f'{type(network).__name__}: found an image {tuple(shape)}, expected one that the network takes: '
                f'{type(error).__name__}: {reason}'
            ) from error
    return counter.get_total_flops() // 2


def _run(network: nn.Module, image: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            network(image)
        if image.is_cuda:
            torch.cuda.synchronize(image.device)

    return run


def _peak_memory(network: nn.Module, image: torch.Tensor, threads: int) -> int:
    if image.is_cuda:
        torch.cuda.reset_peak_memory_stats(image.device)
        before = torch.cuda.memory_allocated(image.device)
        _run(network, image)()
        return torch.cuda.max_memory_allocated(image.device) - before
    with tempfile.TemporaryDirectory() as folder:
        file, result = Path(folder, 'network.pt'), Path(folder, 'result.json')
        try:
            torch.save((network, tuple(image.shape)), file)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise SAPDError(
                f'{type(network).__name__}: cannot be handed to a process that measures its memory ({error}); '
                'expected a network that can be pickled, or memory=False.'
            ) from error
        path = os.pathsep.join(map(os.path.abspath, sys.path))
        environment = {**os.environ, 'OMP_NUM_THREADS': str(threads), 'PYTHONPATH': path}
        command = [sys.executable, '-m', 'sapd_plugin.evaluation.memory_worker', str(file), str(result)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise SAPDError(
                f'{type(network).__name__}: the process that measures its memory failed (memory=False leaves it '
                f'out):\n{done.stderr[-1000:]}'
            )
        return json.loads(result.read_text(encoding='utf-8'))


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@contextlib.contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def _eval(network: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def _device(network: nn.Module) -> torch.device:
    tensor = next(itertools.chain(network.parameters(), network.buffers()), None)
    return torch.device('cpu') if tensor is None else tensor.device


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == 'cuda' else device.type
