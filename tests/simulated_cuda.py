"""A simulated CUDA device, for machines without one: it finds operations that mix devices, and counts waits.

A :class:`SimulatedTensor` says that it is on ``cuda:0`` and holds a tensor on the CPU. :class:`SimulatedCuda` runs every
operation on the tensors that are held, by CUDA's rules: tensors of different devices do not mix, ``numpy()`` needs
``cpu()``, and what makes the host wait for the device is counted with the line that asked for it. Forward and backward
passes, optimizers and shapes that depend on data work as they do on a GPU.

torch's FakeTensorMode cannot do this: it stops where a shape depends on data, and its backward pass needs a driver.

Not simulated: CUDA's kernels (their determinism, the dtypes that they lack), streams, memory, autocast of 'cuda'.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

import sapd_plugin

CUDA = torch.device('cuda', 0)
PACKAGE = Path(sapd_plugin.__file__).parent

needs_simulation = pytest.mark.skipif(
    not hasattr(torch.__future__, 'set_swap_module_params_on_conversion'),
    reason='the simulated CUDA device needs torch 2.3 or newer, whose modules can swap their parameters',
)

_aten = torch.ops.aten
# How often these read the device's memory on the host. bincount: its smallest and its largest value.
_READS = {
    _aten._local_scalar_dense: 1,
    _aten.equal: 1,
    _aten.nonzero: 1,
    _aten.masked_select: 1,
    _aten._unique2: 1,
    _aten.unique_consecutive: 1,
    _aten.unique_dim: 1,
    _aten.bincount: 2,
}
_INDEXING = {_aten.index, _aten.index_put, _aten.index_put_, _aten._index_put_impl_}
# C++ sees a simulated tensor on 'meta', which has no streams, and names that device in copies that it asks for.
_DEVICE_NAMES = ('cuda', 'meta')


class SimulatedTensor(Tensor):
    """A tensor that says it is on ``cuda:0``; ``held`` is on the CPU."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> SimulatedTensor:
        made = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device='meta',
        )
        made.held = held
        return made

    @property
    def device(self) -> torch.device:
        return CUDA

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_meta(self) -> bool:
        return False

    def numpy(self, *args: Any, **kwargs: Any) -> Any:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first.")

    def tolist(self) -> Any:
        return self.cpu().tolist()

    def __repr__(self, **kwargs: Any) -> str:
        return f'SimulatedTensor({tuple(self.shape)}, {self.dtype})'

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError(f'{func}: was called outside of simulated_cuda()')


class SimulatedCuda(TorchDispatchMode):
    """The device: runs operations and records what they cost.

    Attributes:
        waits: how often the host waited, by (what it waited for, 'file:line' of the package or 'elsewhere').
        operations: number of operations on the device, roughly the kernels that are launched.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[tuple[str, str]] = Counter()
        self.operations = 0

    def reset(self) -> None:
        """Forget what was recorded, for example by the first of two steps."""
        self.waits.clear()
        self.operations = 0

    def listing(self) -> str:
        """Return one line per place that waits, for a test's message."""
        return '\n'.join(f'{count} x {what:30} {place}' for (what, place), count in sorted(self.waits.items()))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
        on_device = [tensor for tensor in tensors if isinstance(tensor, SimulatedTensor)]
        wanted = kwargs.get('device')
        to_device = bool(on_device) if wanted is None else torch.device(wanted).type in _DEVICE_NAMES
        if func.overloadpacket is _aten.copy_:
            to_device = isinstance(args[0], SimulatedTensor)
        self.operations += bool(on_device)
        self._count_waits(func.overloadpacket, args, kwargs, tensors, bool(on_device), to_device)
        if on_device:
            self._refuse_mixing(func, tensors)
            if torch.Tag.inplace_view in func.tags:  # such as squeeze_, which changes the shape that C++ sees as well
                with torch._C._DisableTorchDispatch():
                    func(*args, **kwargs)
        known = {id(tensor.held): tensor for tensor in on_device}
        if wanted is not None and to_device:
            kwargs['device'] = torch.device('cpu')
        args, kwargs = tree_map(
            lambda value: value.held if isinstance(value, SimulatedTensor) else value, (args, kwargs)
        )

        def placed(value: Any) -> Any:
            if not isinstance(value, Tensor) or not to_device:
                return value
            return known[id(value)] if id(value) in known else SimulatedTensor(value)  # in-place: its own argument

        return tree_map(placed, func(*args, **kwargs))

    def _refuse_mixing(self, func: Any, tensors: list[Tensor]) -> None:
        """Refuse tensors of the CPU, but for single numbers, copies and indices, as CUDA does."""
        if func.overloadpacket in _INDEXING or func.overloadpacket in (_aten.copy_, _aten._to_copy, _aten.set_):
            return
        strangers = [tuple(t.shape) for t in tensors if not isinstance(t, SimulatedTensor) and t.dim()]
        if strangers:
            raise RuntimeError(
                f'{func}: Expected all tensors to be on the same device, but found cuda:0 and cpu {strangers} at {_line()}'
            )

    def _count_waits(
        self, packet: Any, args: Any, kwargs: Any, tensors: list[Tensor], from_device: bool, to_device: bool
    ) -> None:
        if packet in (_aten._to_copy, _aten.copy_):
            source = tensors[-1]
            blocking = not (kwargs.get('non_blocking') or (packet is _aten.copy_ and len(args) > 2 and args[2]))
            if isinstance(source, SimulatedTensor) and not to_device:
                self._wait('copy to the host')
            elif not isinstance(source, SimulatedTensor) and to_device and blocking:
                self._wait('blocking copy to the device')
        elif from_device and packet in _READS:
            self._wait(packet.__name__, _READS[packet])
        elif from_device and packet in _INDEXING:
            indices = [index for index in args[1] if index is not None]
            # One value that goes to all places of a mask is filled in without a list of the places.
            listed = packet is _aten.index or args[2].numel() > 1
            if listed and any(index.dtype in (torch.bool, torch.uint8) for index in indices):
                self._wait('index by a mask')
            if not all(isinstance(index, SimulatedTensor) for index in indices):
                self._wait('index on the CPU')

    def _wait(self, what: str, times: int = 1) -> None:
        self.waits[what, _line()] += times


class _Arguments(TorchFunctionMode):
    """Translate arguments that C++ would handle below the dispatcher, for a device 'meta' without data.

    'cuda' becomes 'cuda:0', since without an index C++ asks the driver for the current device. Tensors of Python's numbers,
    and lists as indices, become tensors of the CPU that are copied to the device, as on a GPU.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def indexed(value: Any) -> Any:
            return CUDA if isinstance(value, (str, torch.device)) and str(value) == 'cuda' else value

        args, kwargs = tuple(map(indexed, args)), {key: indexed(value) for key, value in (kwargs or {}).items()}
        if func in (torch.tensor, torch.as_tensor) and str(kwargs.get('device')) == str(CUDA):
            return func(*args, **{**kwargs, 'device': None}).to(CUDA)
        if isinstance(args[0] if args else None, SimulatedTensor):
            if func is Tensor.new_tensor:
                return torch.tensor(*args[1:], **{'dtype': args[0].dtype, **kwargs}).to(CUDA)
            if func in (Tensor.__getitem__, Tensor.__setitem__):
                index = args[1] if isinstance(args[1], tuple) else (args[1],)
                args = args[0], tuple(torch.tensor(i).to(CUDA) if isinstance(i, list) else i for i in index), *args[2:]
        return func(*args, **kwargs)


@contextmanager
def simulated_cuda() -> Iterator[SimulatedCuda]:
    """Enter the simulation; ``.to('cuda')`` then works for tensors and modules.

    Draws of the device's random numbers come from the CPU's generator. Inference mode, whose tensors cannot be wrapped,
    is ``no_grad``.
    """
    stand_ins = {
        '_lazy_init': lambda: None,
        'manual_seed': lambda seed: None,
        'get_rng_state': lambda device=None: torch.zeros(16, dtype=torch.uint8),
        'set_rng_state': lambda state, device=None: None,
    }
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    with ExitStack() as stack:
        for name, stand_in in stand_ins.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        stack.enter_context(
            mock.patch.object(torch._C, '_InferenceMode', lambda mode: torch.no_grad() if mode else nullcontext())
        )
        torch.__future__.set_swap_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_swap_module_params_on_conversion, swaps)
        stack.enter_context(_Arguments())
        yield stack.enter_context(SimulatedCuda())


def _line() -> str:
    """Return the package's innermost line on the stack, such as 'core/sgr.py:98', or 'elsewhere'."""
    frame = sys._getframe()
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            return f'{path.relative_to(PACKAGE)}:{frame.f_lineno}'
        frame = frame.f_back
    return 'elsewhere'
