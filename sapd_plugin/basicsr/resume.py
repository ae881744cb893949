"""Resuming: BasicSR's own, made to work on a CPU, and the random streams it does not keep."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils import get_root_logger

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import MaskStore


def _path(opt: dict[str, Any], iteration: int, folder: Path) -> Path:
    # BasicSR looks for files that end in "state"; these must not.
    return folder / f'{iteration}.sapd.rank{opt.get("rank", 0)}'


def _fingerprint(opt: dict[str, Any]) -> str | None:
    store = opt['datasets']['train'].get('mask_store')
    return MaskStore(store).fingerprint if store else None


def save_branch_state(opt: dict[str, Any], iteration: int) -> None:
    """Save this rank's random streams and the masks' fingerprint beside BasicSR's training state."""
    algorithm, keys, *rest = np.random.get_state()
    state = {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        'numpy': [algorithm, torch.from_numpy(keys.astype(np.int64)), *rest],
        'python': random.getstate(),
        'mask_fingerprint': _fingerprint(opt),
    }
    torch.save(state, _path(opt, iteration, Path(opt['path']['training_states'])))


def load_branch_state(opt: dict[str, Any], iteration: int) -> None:
    """Continue the random streams of :func:`save_branch_state`.

    Raises:
        SAPDError: the masks' settings are others than those that the run began with.
    """
    path = _path(opt, iteration, Path(opt['path']['resume_state']).parent)
    if not path.is_file():
        get_root_logger().warning(f'{path} is not there: training goes on, with new random streams.')
        return
    state = torch.load(path, map_location='cpu', weights_only=True)
    saved, found = state['mask_fingerprint'], _fingerprint(opt)
    if saved != found:
        raise SAPDError(
            f'datasets.train.mask_store: its settings fingerprint is {found}, the run to resume began with {saved}.'
        )
    torch.set_rng_state(state['torch'])
    if torch.cuda.is_available() and len(state['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state['cuda'])
    algorithm, keys, *rest = state['numpy']
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))


def allow_cpu_resume() -> None:
    """Let BasicSR's train module resume without a GPU, where its own function asks CUDA for a device.

    On a machine with a GPU nothing is changed.
    """
    if torch.cuda.is_available():
        return
    for name in ('__main__', 'basicsr.train'):
        module = sys.modules.get(name)
        stock = getattr(module, 'load_resume_state', None)
        if stock is not None and stock.__name__ == 'load_resume_state':
            module.load_resume_state = _on_cpu(stock)  # type: ignore[union-attr]


def _on_cpu(stock: Any) -> Any:
    def resume_on_cpu(opt: dict[str, Any]) -> Any:
        device, load = torch.cuda.current_device, torch.load
        torch.cuda.current_device = lambda: 0  # type: ignore[assignment]
        torch.load = lambda path, **_: load(path, map_location='cpu')  # type: ignore[assignment]
        try:
            return stock(opt)
        finally:
            torch.cuda.current_device, torch.load = device, load

    return resume_on_cpu
