"""The networks of :mod:`sapd_plugin.archs` under BasicSR's names."""

from __future__ import annotations

from basicsr.utils.registry import ARCH_REGISTRY

from sapd_plugin.archs import NETWORKS


def register_networks() -> None:
    """Register each network under its name, or as ``<name>_sapd`` where the name is taken.

    EDSR, RCAN and SwinIR are BasicSR's own. Its SwinIR loads its authors' checkpoints. Its RCAN has other
    parameter names than the authors'; their checkpoints load in ``RCAN_sapd``. EDSR's names differ, too; BasicSR
    publishes converted checkpoints.
    """
    for name, network in NETWORKS.items():
        ARCH_REGISTRY.register(network, suffix='sapd' if name in ARCH_REGISTRY else None)
