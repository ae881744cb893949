"""The networks of :mod:`sapd_plugin.archs` under BasicSR's names."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY

from sapd_plugin.archs import NETWORKS


def register_networks() -> None:
    """Register each network whose name is free; EDSR, RCAN and SwinIR, for instance, are BasicSR's own."""
    for name, network in NETWORKS.items():
        if name not in ARCH_REGISTRY:
            ARCH_REGISTRY.register(network)
