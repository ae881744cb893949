"""Cost of one inference: parameters, multiply-accumulates, time, and memory on a GPU."""

from __future__ import annotations

import contextlib
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from sapd_plugin.errors import SAPDError
from sapd_plugin.progress import Bar


@dataclass(frozen=True)
class Cost:
    """Cost of one inference.

    Attributes:
        parameters: number of values in the network's parameters.
        macs: multiply-accumulates, see `count_macs`. Papers often call them FLOPs; FLOPs proper are twice as many.
        milliseconds: median wall time of several runs after one warm-up run.
        memory: peak bytes that torch allocated above the network and its input; None if not measured, as on a CPU.
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
        """Return the cost as JSON values."""
        return {**asdict(self), 'shape': list(self.shape)}


def steps_of(repeats: int = 5) -> int:
    """Return the number of steps that a bar shows per network: one count of MACs, one warm-up and the timed runs."""
    return 2 + repeats


def compare(
    networks: Mapping[str, nn.Module],
    shape: Sequence[int],
    *,
    repeats: int = 5,
    threads: int | None = None,
    memory: bool = True,
    bar: Bar | None = None,
) -> dict[str, Cost]:
    """Measure networks, timed in turn; their weights and modes are unchanged.

    Args:
        networks: each takes an image (N,C,h,w) in 0..1; its output may have any type.
        shape: of the image.
        repeats: runs per median.
        threads: of torch on the CPU; None for the current number.
        memory: whether to measure peak memory; this needs a GPU.
        bar: shows the progress; it moves by :func:`steps_of` ``repeats`` per network.

    Raises:
        SAPDError: a network does not take such an image.
    """
    threads = threads or torch.get_num_threads()
    shape = tuple(int(length) for length in shape)
    inputs = {name: torch.rand(shape, device=_device(network)) for name, network in networks.items()}
    with contextlib.ExitStack() as stack:
        stack.callback(torch.set_num_threads, torch.get_num_threads())
        torch.set_num_threads(threads)
        for network in networks.values():
            for module in network.modules():
                stack.callback(setattr, module, 'training', module.training)
            network.eval()
        macs = {}
        for name, network in networks.items():
            if bar is not None:
                bar.say(f'count MACs of {name} at {shape[-2]}x{shape[-1]}')
            macs[name] = count_macs(network, shape)
            if bar is not None:
                bar.update()
        if bar is not None:
            bar.say(f'time at {shape[-2]}x{shape[-1]}')
        runs = {name: _run(network, inputs[name]) for name, network in networks.items()}
        times = dict(zip(runs, medians_ms(list(runs.values()), repeats, after=bar and bar.update)))
        costs = {}
        for name, network in networks.items():
            device = inputs[name].device
            cuda = device.type == 'cuda'
            costs[name] = Cost(
                parameters=sum(p.numel() for p in network.parameters()),
                macs=macs[name],
                milliseconds=times[name],
                memory=_peak_memory(runs[name], device) if memory and cuda else None,
                shape=shape,
                device=torch.cuda.get_device_name(device) if cuda else device.type,
                threads=threads,
            )
    return costs


def count_macs(network: nn.Module, shape: Sequence[int]) -> int:
    """Count the multiply-accumulates of one image: convolutions, linear layers and matrix products (attention, einsum).

    Element-wise operations (biases, activations, normalization, resizing) are not counted, nor are the products inside
    a compiled operator of an extension (deformable convolution). The result is half of what torch.utils.flop_counter
    counts. A network on the device 'meta' is counted without being computed.

    Published figures may differ: some omit the products of attention (Restormer: 141 G of 155 G at 256x256),
    others seem to count a transposed convolution at its output size (HINet: 171 G for 158 G).

    Raises:
        SAPDError: the network does not take an image (N,C,h,w) of that shape.
    """
    image = torch.rand(tuple(shape), device=_device(network))
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), _plain_attention(network), counter:
        try:
            network(image)
        except (RuntimeError, ValueError, TypeError, IndexError) as error:
            reason = ' '.join(str(error).split())[:500]
            raise SAPDError(
                f'{type(network).__name__}: found an image {tuple(shape)}, expected one that the network takes: '
                f'{type(error).__name__}: {reason}'
            ) from error
    return counter.get_total_flops() // 2


def medians_ms(
    functions: Sequence[Callable[[], object]],
    repeats: int,
    warmup: int = 1,
    clock: Callable[[], float] = time.perf_counter,
    after: Callable[[], object] | None = None,
) -> list[float]:
    """Return the median time of each function in milliseconds: wall time, or that of another clock in seconds.

    The functions are called in turn, so that a change in the machine's speed affects all of them. ``after`` is called
    after each call of a function, and not timed.
    """
    times: list[list[float]] = [[] for _ in functions]
    for repeat in range(warmup + repeats):
        for function, record in zip(functions, times):
            start = clock()
            function()
            if repeat >= warmup:
                record.append((clock() - start) * 1e3)
            if after is not None:
                after()
    return [statistics.median(record) for record in times]


def _run(network: nn.Module, image: torch.Tensor) -> Callable[[], None]:
    def run() -> None:
        with torch.no_grad():
            network(image)
        if image.is_cuda:
            torch.cuda.synchronize(image.device)

    return run


def _peak_memory(run: Callable[[], None], device: torch.device) -> int:
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    return torch.cuda.max_memory_allocated(device) - before


@contextlib.contextmanager
def _plain_attention(network: nn.Module) -> Iterator[None]:
    """Keep attention from using fused operators, which the counter ignores: on a CPU it would count nothing."""
    try:
        from torch.nn.attention import SDPBackend, sdpa_kernel

        kernel = sdpa_kernel(SDPBackend.MATH)
    except ImportError:  # torch 2.1
        kernel = torch.backends.cuda.sdp_kernel(enable_flash=False, enable_mem_efficient=False)
    with contextlib.ExitStack() as stack:
        stack.enter_context(kernel)
        for module in network.modules():
            if isinstance(module, (nn.MultiheadAttention, nn.TransformerEncoderLayer)):
                # Their own fused operators are only for inference; training mode only adds dropout.
                stack.callback(setattr, module, 'training', module.training)
                module.training = True
        yield


def _device(network: nn.Module) -> torch.device:
    tensor = next(itertools.chain(network.parameters(), network.buffers()), None)
    return torch.device('cpu') if tensor is None else tensor.device
