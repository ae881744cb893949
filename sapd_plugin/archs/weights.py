"""The state dict of a network in a checkpoint from its authors, BasicSR or MMagic."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from sapd_plugin.errors import SAPDError

# Keys that may hold the state dict; the first one present is used.
WRAPPINGS = ('params_ema', 'params', 'state_dict', 'model', 'model_state_dict')
MMAGIC, PARALLEL = 'generator.', 'module.'


def network_weights(saved: object) -> dict[str, Tensor]:
    """Return the state dict of the network in a loaded checkpoint.

    Args:
        saved: a state dict, bare or as the authors wrapped it, also from data-parallel training; a BasicSR checkpoint
            (its EMA weights, if it has any) or an MMagic one (only its generator).

    Raises:
        SAPDError: the checkpoint holds no weights.
    """
    state = saved
    if isinstance(saved, Mapping):
        state = next((saved[key] for key in WRAPPINGS if isinstance(saved.get(key), Mapping)), saved)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise SAPDError(f'found no weights, expected a state dict, bare or under {", ".join(WRAPPINGS)}.')
    own = {key[len(MMAGIC) :]: value for key, value in state.items() if key.startswith(MMAGIC)} or dict(state)
    if all(key.startswith(PARALLEL) for key in own):
        own = {key[len(PARALLEL) :]: value for key, value in own.items()}
    return own
