"""Register the package's framework-independent networks and losses with BasicSR."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from basicsr.archs import build_network
from basicsr.losses import build_loss
from basicsr.utils.registry import ARCH_REGISTRY, LOSS_REGISTRY, Registry
from torch import nn

from sapd_plugin import losses
from sapd_plugin.archs import NETWORKS
from sapd_plugin.basicsr.options import check_loss, check_network
from sapd_plugin.core import SPF, SGRLoss, SPDLoss, build_spf


def register_builder(registry: Registry, name: str, build: Callable[..., Any]) -> None:
    """Register a function under the public name of what it builds; BasicSR would use the function's own name."""

    @functools.wraps(build)
    def named(*args: Any, **kwargs: Any) -> Any:
        return build(*args, **kwargs)

    named.__name__ = name
    registry.register(named)


def register_all() -> None:
    """Register SPF, all networks and all losses.

    A network whose name is taken becomes ``<name>_sapd``. EDSR, RCAN and SwinIR are BasicSR's own. Its SwinIR loads its
    authors' checkpoints. Its RCAN has other parameter names than the authors'; their checkpoints load in ``RCAN_sapd``.
    EDSR's names differ, too; BasicSR publishes converted checkpoints. A loss whose name is taken stays BasicSR's.
    """
    register_builder(ARCH_REGISTRY, 'SPF', build_spf_network)
    for name, network in NETWORKS.items():
        ARCH_REGISTRY.register(network, suffix='sapd' if name in ARCH_REGISTRY else None)
    for loss in (SPDLoss, SGRLoss, *losses.LOSSES.values()):
        if loss.__name__ not in LOSS_REGISTRY:
            LOSS_REGISTRY.register(loss)
    register_builder(LOSS_REGISTRY, 'MultiOutputLoss', build_multi_output_loss)


def build_spf_network(network: dict[str, Any] | None = None, **settings: Any) -> SPF:
    """Build :class:`sapd_plugin.core.SPF` with ``settings`` around the network at scale 1 of a config block.

    Without a block of its own, SAPDModel uses that of ``network_g``.

    Raises:
        SAPDError: no network, or an unknown or invalid setting.
    """
    return build_spf('network_spf', _build_second_network, network, settings)


def build_multi_output_loss(criteria: Any, loss_weight: float = 1.0) -> losses.MultiOutputLoss:
    """Build :class:`sapd_plugin.losses.MultiOutputLoss` from the block of any registered loss, or a list of them.

    Raises:
        SAPDError: no block, an unknown type or an unknown key.
    """
    return losses.build_multi_output_loss(_build_checked, criteria, loss_weight)


def _build_second_network(block: Any) -> nn.Module:
    check_network('network', block)
    return build_network(block)


def _build_checked(key: str, block: Mapping[str, Any]) -> nn.Module:
    check_loss(key, block)
    return build_loss(dict(block))
