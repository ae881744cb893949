"""Checkpoints that a network's authors published, for MMagic's own tools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import Tensor

from sapd_plugin.archs.weights import MMAGIC, network_weights
from sapd_plugin.errors import SAPDError, nearest


@HOOKS.register_module()
class PublishedCheckpointHook(Hook):
    """Load a bare network's checkpoint, BasicSR's or its authors', into ``model.generator``, strictly.

    MMEngine would look for ``generator.*``, find nothing, warn, and test a network with random weights.

    Raises:
        SAPDError: parameters that are missing, unknown or of a different shape.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Rename the parameters in place; MMagic's own checkpoints are not changed."""
        if any(str(key).startswith(MMAGIC) for key in checkpoint.get('state_dict', ())):
            return
        state = network_weights(checkpoint)
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        _check(state, model.generator.state_dict())
        checkpoint.clear()
        checkpoint['state_dict'] = {f'{MMAGIC}{key}': value for key, value in state.items()}


def _check(found: Mapping[str, Any], expected: Mapping[str, Tensor]) -> None:
    for key in expected:
        if key not in found:
            raise SAPDError(f"the checkpoint: has no '{key}', which model.generator has.{nearest(key, found)}")
    for key, value in found.items():
        if key not in expected:
            raise SAPDError(f"the checkpoint: has '{key}', which model.generator lacks.{nearest(key, expected)}")
        if value.shape != expected[key].shape:
            sizes = tuple(value.shape), tuple(expected[key].shape)
            raise SAPDError(f"the checkpoint: '{key}' is {sizes[0]}, model.generator expects {sizes[1]}.")
