"""Half precision: what autocast does at the moment, and loss scaling, for torch 2.0 and later."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

# torch.amp has it since 2.3, for every device.
GradScaler: Any = getattr(torch.amp, 'GradScaler', torch.cuda.amp.GradScaler)


def full_precision(device: torch.device) -> torch.autocast:
    """Return a context without autocast on ``device``."""
    return torch.autocast(device.type, enabled=False)


def in_float16(device: torch.device) -> bool:
    """Return whether autocast to float16 is on for ``device``; bfloat16 has float32's range and needs no scaling."""
    if hasattr(torch, 'get_autocast_dtype'):  # torch >= 2.4
        return torch.is_autocast_enabled(device.type) and torch.get_autocast_dtype(device.type) is torch.float16
    if device.type == 'cpu':
        return torch.is_autocast_cpu_enabled() and torch.get_autocast_cpu_dtype() is torch.float16
    return torch.is_autocast_enabled() and torch.get_autocast_gpu_dtype() is torch.float16


def loss_scale(scaler: Any) -> Any:
    """Return the factor of a GradScaler's losses without waiting for the device: a scalar tensor, or 1.0.

    Args:
        scaler: a GradScaler; None and a disabled one mean 1.0.

    ``_scale`` is private. It is there since torch 1.6, and is None until the first loss is scaled. The public
    ``get_scale()`` copies it to the CPU.
    """
    if scaler is None or not scaler.is_enabled():
        return 1.0
    return 1.0 if scaler._scale is None else scaler._scale


class BranchScaler:
    """Loss scaling of SPF alone, from the first step in float16 on.

    One scaler for both networks would skip the student's step, and halve its scale, at an overflow in SPF.

    Args:
        device: of SPF.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._scaler: Any = None

    @property
    def factor(self) -> Any:
        """The factor of the losses that :meth:`scaled` returned: a scalar tensor, or 1.0."""
        return loss_scale(self._scaler)

    def scaled(self, loss: Tensor, float16: bool) -> Tensor:
        """Return the loss to differentiate: scaled if this step, or an earlier one, is in float16."""
        if float16 and self._scaler is None:
            self._start()
        return loss if self._scaler is None else self._scaler.scale(loss)

    def step(self, optimizer: torch.optim.Optimizer) -> None:
        """Step SPF's optimizer; unscale its gradients first, and skip the step if one overflowed."""
        if self._scaler is None:
            optimizer.step()
        else:
            self._scaler.step(optimizer)
            self._scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """Return the state; empty if no step was in float16."""
        return {} if self._scaler is None else self._scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load what :meth:`state_dict` returned."""
        if state:
            self._start()
            self._scaler.load_state_dict(state)

    def _start(self) -> None:
        of_any_device = GradScaler is getattr(torch.amp, 'GradScaler', None)
        self._scaler = GradScaler(self.device.type) if of_any_device else GradScaler()
