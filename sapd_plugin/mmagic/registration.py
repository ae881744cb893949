"""Register the package's framework-independent networks and losses with MMagic."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Imported before names are checked, because MMagic registers its own networks on import.
from mmagic.models.editors import EDSRNet, SwinIRNet
from mmagic.registry import MODELS
from torch import nn

from sapd_plugin import losses
from sapd_plugin.archs import NETWORKS
from sapd_plugin.core import SPF, SGRLoss, SPDLoss, build_spf
from sapd_plugin.mmagic.options import check_module

ALIASES = {'EDSR': EDSRNet, 'SwinIR': SwinIRNet}


def register_all() -> None:
    """Register all networks and losses.

    A network whose name is taken becomes ``<name>_sapd``. NAFNet, NAFNetLocal and Restormer are MMagic's own. They have
    their authors' parameter names, as ours do, so the same checkpoints load with the same outputs; NAFNet's arguments
    have other names (``img_channels``, ``mid_channels``). EDSR and SwinIR are additional names of MMagic's EDSRNet and
    SwinIRNet; SwinIR loads its authors' checkpoints, EDSR those that MMagic publishes. A loss whose name is taken stays
    MMagic's: it has its own PSNRLoss.
    """
    for name, network in {**NETWORKS, **ALIASES}.items():
        MODELS.register_module(name=f'{name}_sapd' if name in MODELS.module_dict else name, module=network)
    for loss in (SPDLoss, SGRLoss, *losses.LOSSES.values()):
        if loss.__name__ not in MODELS:
            MODELS.register_module(module=loss)


@MODELS.register_module(name='SPF')
def build_spf_network(network: dict[str, Any] | None = None, **settings: Any) -> SPF:
    """Build :class:`sapd_plugin.core.SPF` with ``settings`` around the network at scale 1 of a config.

    Without a config of its own, SAPDModel uses that of ``generator``.

    Raises:
        SAPDError: no network, or an unknown or invalid setting.
    """
    return build_spf('network_spf', _build_second_network, network, settings)


@MODELS.register_module(name='MultiOutputLoss')
def build_multi_output_loss(criteria: Any, loss_weight: float = 1.0) -> losses.MultiOutputLoss:
    """Build :class:`sapd_plugin.losses.MultiOutputLoss` from the config of any registered loss, or a list of them.

    Raises:
        SAPDError: no config, an unknown type or an unknown key.
    """
    return losses.build_multi_output_loss(_build_checked, criteria, loss_weight)


def _build_second_network(config: Any) -> nn.Module:
    # MMEngine builds a Sequential from a list.
    several = isinstance(config, list)
    blocks = {f'network[{i}]': block for i, block in enumerate(config)} if several else {'network': config}
    for key, block in blocks.items():
        check_module(key, block)
    network = MODELS.build(config)
    # The runner does this for the student, but not inside modules that are not MMEngine's.
    if hasattr(network, 'init_weights'):
        network.init_weights()
    return network


def _build_checked(key: str, block: Mapping[str, Any]) -> nn.Module:
    check_module(key, block)
    return MODELS.build(dict(block))
