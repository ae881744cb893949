"""What a SAPD checkpoint holds for a resumed run besides weights: random states, logs and settings.

All of it is made of what ``torch.load`` trusts, so that a stock MMagic, without this package, can test the student.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import Runner
from torch import nn

from sapd_plugin.core import changes

ENTRY = 'sapd'
_KINDS = {
    'spf': dict,
    'mask_fingerprints': list,
    'random_state': torch.Tensor,
    'random_states_cuda': list,
    'teacher': dict,
    'gradients': list,
    'logs': dict,
    'options': str,
}
_REQUIRED = ('spf', 'mask_fingerprints', 'random_state')
# The settings that decide what is trained.
NAMED = ('model', 'train_dataloader', 'optim_wrapper', 'param_scheduler', 'randomness', 'custom_hooks')


def student_of(checkpoint: Any) -> dict[str, Any]:
    """Return the weights of a checkpoint, which may be nothing else. Raises ValueError if it holds none."""
    weights = checkpoint.get('state_dict', checkpoint) if isinstance(checkpoint, dict) else None
    if not isinstance(weights, dict) or not any('generator.' in str(name) for name in weights):
        raise ValueError('it holds no weights of a generator')
    return weights


def entry_of(checkpoint: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the entry of a checkpoint, or None if it comes from a stock run.

    Raises:
        ValueError: the entry is not one that a run saves.
    """
    if ENTRY not in checkpoint:
        return None
    entry = checkpoint[ENTRY]
    if not isinstance(entry, dict):
        raise ValueError(f"its entry '{ENTRY}' is {type(entry).__name__}, expected dict")
    for name, kind in _KINDS.items():
        if name in entry and not isinstance(entry[name], kind):
            raise ValueError(f"its entry '{ENTRY}' holds {type(entry[name]).__name__} as {name}")
        if name not in entry and name in _REQUIRED:
            raise ValueError(f"its entry '{ENTRY}' lacks {name}")
    torch.Generator().set_state(entry['random_state'].cpu())  # raises what resuming would raise after the first batches
    return entry


def random_state() -> dict[str, Any]:
    """Return the states of torch's generators."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {'random_state': torch.get_rng_state(), 'random_states_cuda': cuda}


def restore_random_state(entry: Mapping[str, Any]) -> None:
    """Set torch's generators to the states that an entry holds."""
    torch.set_rng_state(entry['random_state'].cpu())
    cuda = [state.cpu() for state in entry.get('random_states_cuda', ())]
    if cuda and len(cuda) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(cuda)


class RestoringIterator:
    """The batches of a loop that skips those that were used for training already, then restores random states.

    Args:
        batches: the loop's own iterator.
        skipped: number of batches that it skips.
        restore: called before the next one, which may be made in this process.
    """

    def __init__(self, batches: Iterator[Any], skipped: int, restore: Callable[[], None]) -> None:
        self.batches, self.skipped, self.restore = batches, skipped, restore

    def __iter__(self) -> RestoringIterator:
        return self

    def __next__(self) -> Any:
        if self.skipped == 0:
            self.restore()
        self.skipped -= 1
        return next(self.batches)


def take_logs(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """Take the log buffers out of a checkpoint and return them as tensors.

    By default, torch >= 2.6 does not read buffers.
    """
    hub = checkpoint['message_hub']
    logs = {name: log for name, log in hub['log_scalars'].items() if isinstance(log, HistoryBuffer)}
    hub['log_scalars'] = {name: log for name, log in hub['log_scalars'].items() if name not in logs}
    hub['runtime_info'] = {name: _plain(value) for name, value in hub['runtime_info'].items()}
    return {
        name: {'values': [torch.from_numpy(np.array(each)) for each in log.data], 'max_length': log.max_length}
        for name, log in logs.items()
    }


def give_logs(checkpoint: dict[str, Any], logs: Mapping[str, Any]) -> None:
    """Undo :func:`take_logs`."""
    for name, log in logs.items():
        values, counts = (each.cpu().numpy() for each in log['values'])
        checkpoint['message_hub']['log_scalars'][name] = HistoryBuffer(values, counts, log['max_length'])


def check_fits(weights: Mapping[str, Any], model: nn.Module) -> None:
    """Refuse weights to resume from that are not those of a model: MMEngine would keep its random ones, with a warning.

    Args:
        weights: of the student and SPF.
        model: the SAPDModel.

    Raises:
        ValueError: naming the first parameter that does not fit.
    """
    for name, parameter in model.named_parameters():
        found = weights.get(name)
        shape = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
        if parameter.requires_grad and shape != tuple(parameter.shape):
            raise ValueError(f'found {shape} as {name}, and the model of this config has {tuple(parameter.shape)}')


def options_of(runner: Runner) -> str:
    """Return the settings that decide what is trained."""
    config = runner.cfg.to_dict()
    return changes.snapshot({key: config[key] for key in NAMED if key in config})


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
