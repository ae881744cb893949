"""The losses of published training protocols, in BasicSR's registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from basicsr.losses import build_loss
from basicsr.utils.registry import LOSS_REGISTRY
from torch import nn

from sapd_plugin import losses
from sapd_plugin.basicsr.options import check_loss
from sapd_plugin.basicsr.registry import register_builder


def build_multi_output_loss(criteria: Any, loss_weight: float = 1.0) -> losses.MultiOutputLoss:
    """Build :class:`sapd_plugin.losses.MultiOutputLoss` from BasicSR's loss blocks.

    Args:
        criteria: the block of any registered loss, or a list of such blocks.
        loss_weight: factor of the sum.

    Raises:
        SAPDError: no block, an unknown type or an unknown key.
    """
    return losses.build_multi_output_loss(_build, criteria, loss_weight)


def register_losses() -> None:
    """Register all losses whose names are free, so that a BasicSR that has one keeps its own."""
    for name, loss in losses.LOSSES.items():
        if name not in LOSS_REGISTRY:
            LOSS_REGISTRY.register(loss)
    register_builder(LOSS_REGISTRY, 'MultiOutputLoss', build_multi_output_loss)


def _build(key: str, block: Mapping[str, Any]) -> nn.Module:
    check_loss(key, block)
    return build_loss(dict(block))
