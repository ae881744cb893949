"""The state of a SAPD run besides BasicSR's training state: random number generators and the masks' fingerprint."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch
from basicsr.utils import get_root_logger

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import MaskStore


def _path(opt: dict[str, Any], iteration: int, folder: Path) -> Path:
    # BasicSR searches for files that end in "state", so these must not.
    return folder / f'{iteration}.sapd.rank{opt.get("rank", 0)}'


def _fingerprint(opt: dict[str, Any]) -> str | None:
    store = opt['datasets']['train'].get('mask_store')
    return MaskStore(store).fingerprint if store else None


def save_branch_state(opt: dict[str, Any], iteration: int, scaler: dict[str, Any]) -> None:
    """Save the state of this process next to BasicSR's training state, which the main process alone saves.

    Args:
        opt: BasicSR's options.
        iteration: the iteration that has ended.
        scaler: state of SPF's loss scaling.
    """
    numpy_state: Any = np.random.get_state()
    algorithm, keys, *rest = numpy_state
    state = {
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        'numpy': [algorithm, torch.from_numpy(keys.astype(np.int64)), *rest],
        'python': random.getstate(),
        'mask_fingerprint': _fingerprint(opt),
        'scaler': scaler,
    }
    folder = Path(opt['path']['training_states'])
    # The main process has made it on its own node; other nodes may not share that disk.
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(state, _path(opt, iteration, folder))


def load_branch_state(opt: dict[str, Any], iteration: int) -> dict[str, Any]:
    """Resume the random-number-generator states that :func:`save_branch_state` saved.

    Returns:
        The state of SPF's loss scaling.

    Raises:
        SAPDError: the masks' fingerprint differs from that at the start of the run.
    """
    path = _path(opt, iteration, Path(opt['path']['resume_state']).parent)
    if not path.is_file():
        get_root_logger().warning(f'{path} does not exist: training resumes with new random-number-generator states.')
        return {}
    state = torch.load(path, map_location='cpu', weights_only=True)
    saved, found = state['mask_fingerprint'], _fingerprint(opt)
    if saved != found:
        raise SAPDError(
            f'datasets.train.mask_store: its fingerprint is {found}, the run to resume started with {saved}.'
        )
    torch.set_rng_state(state['torch'])
    if torch.cuda.is_available() and len(state['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state['cuda'])
    algorithm, keys, *rest = state['numpy']
    np.random.set_state((algorithm, keys.numpy().astype(np.uint32), *rest))
    version, internal, gauss = state['python']
    random.setstate((version, tuple(internal), gauss))
    scaler: dict[str, Any] = state.get('scaler', {})
    return scaler
