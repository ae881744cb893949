"""The losses of published training protocols, in MMagic's registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmagic.registry import MODELS
from torch import nn

from sapd_plugin import losses
from sapd_plugin.mmagic.options import check_module


@MODELS.register_module(name='MultiOutputLoss')
def build_multi_output_loss(criteria: Any, loss_weight: float = 1.0) -> losses.MultiOutputLoss:
    """Build :class:`sapd_plugin.losses.MultiOutputLoss` from MMagic's loss configs.

    Args:
        criteria: the config of any registered loss, or a list of such configs.
        loss_weight: factor of the sum.

    Raises:
        SAPDError: no config, an unknown type or an unknown key.
    """
    return losses.build_multi_output_loss(_build, criteria, loss_weight)


def register_losses() -> None:
    """Register all losses whose names are free: MMagic keeps its own PSNRLoss."""
    for name, loss in losses.LOSSES.items():
        if name not in MODELS:
            MODELS.register_module(module=loss)


def _build(key: str, block: Mapping[str, Any]) -> nn.Module:
    check_module(key, block)
    return MODELS.build(dict(block))
