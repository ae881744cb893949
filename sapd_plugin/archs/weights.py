"""The state dict of a network in a checkpoint from its authors, BasicSR or MMagic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from sapd_plugin.errors import SAPDError
from sapd_plugin.weight_files import read_weights

# Keys that may hold the state dict; the first one present is used.
WRAPPINGS = ('params_ema', 'params', 'state_dict', 'model', 'model_state_dict')
MMAGIC, PARALLEL = 'generator.', 'module.'
BY_IMPORT = 'What a package of your own registers, --import MODULE makes known.'

Read = Callable[[Path], Any]


def network_weights(saved: object, key: str | None = None) -> dict[str, Tensor]:
    """Return the state dict of the network in a loaded checkpoint.

    Args:
        saved: a state dict, bare or as the authors wrapped it, also from data-parallel training; a BasicSR checkpoint
            (its EMA weights, if it has any) or an MMagic one (only its generator).
        key: the key that holds the state dict, as BasicSR's ``param_key_g``; a checkpoint without it may have
            ``params``. None means the first of `WRAPPINGS`.

    Raises:
        SAPDError: the checkpoint holds no weights, or none under the key.
    """
    state = saved
    if isinstance(saved, Mapping):
        keys = WRAPPINGS if key is None else (key, 'params')
        found = next((saved[each] for each in keys if isinstance(saved.get(each), Mapping)), None)
        if found is None and key is not None:
            groups = [each for each in WRAPPINGS if isinstance(saved.get(each), Mapping)]
            raise SAPDError(f"path.param_key_g: found '{key}', expected one of the file's: {groups or 'none'}.")
        state = saved if found is None else found
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise SAPDError(f'found no weights, expected a state dict, bare or under {", ".join(WRAPPINGS)}.')
    own = {key[len(MMAGIC) :]: value for key, value in state.items() if key.startswith(MMAGIC)} or dict(state)
    if all(key.startswith(PARALLEL) for key in own):
        own = {key[len(PARALLEL) :]: value for key, value in own.items()}
    return own


def weights_group(saved: object, key: str | None = None) -> str | None:
    """Return the key of a BasicSR checkpoint that :func:`network_weights` takes; None for a bare state dict."""
    groups = ('params_ema', 'params') if key is None else (key, 'params')
    return next((each for each in groups if isinstance(saved, Mapping) and each in saved), None)


def read_checkpoint(path: Path) -> Any:
    """Read a file that ``torch.save`` wrote, on the CPU, without running code from it.

    Raises:
        SAPDError: there is no such file, or it is of another kind or damaged.
    """
    return read_weights('checkpoint', path, "a student's weights")


def load_weights(network: nn.Module, checkpoint: Path, key: str | None = None, read: Read = read_checkpoint) -> Any:
    """Load a student's weights strictly into its network.

    Args:
        network: its weights are replaced.
        checkpoint: BasicSR's ``net_g_*.pth``, MMagic's ``iter_*.pth``, the authors' file or a bare state dict.
        key: as for :func:`network_weights`.
        read: reads the file; that of the MMagic adapter also reads MMEngine's files with any torch.

    Returns:
        What the file holds.

    Raises:
        SAPDError: the file is not a checkpoint, or holds the weights of a different network.
    """
    saved = read(checkpoint)
    try:
        network.load_state_dict(network_weights(saved, key), strict=True)
    except SAPDError as error:
        raise SAPDError(f'{checkpoint}: {error}') from error
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = ' '.join(str(error).split())[:500]
        raise SAPDError(f'{checkpoint}: its weights are not of {type(network).__name__}: {reason}') from error
    return saved
