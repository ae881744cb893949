"""The networks of :mod:`sapd_plugin.archs` under MMagic's names."""

from __future__ import annotations

# Complete before a name is called free: MMagic registers its own networks when it is imported.
from mmagic.models.editors import EDSRNet, SwinIRNet
from mmagic.registry import MODELS

from sapd_plugin.archs import NETWORKS

ALIASES = {'EDSR': EDSRNet, 'SwinIR': SwinIRNet}


def register_networks() -> None:
    """Register each network whose name is free; NAFNet and Restormer, for instance, are MMagic's own.

    MMagic's own EDSRNet and SwinIRNet can be named as EDSR and SwinIR as well, their usual names.
    """
    for name, network in {**NETWORKS, **ALIASES}.items():
        if name not in MODELS.module_dict:
            MODELS.register_module(name=name, module=network)
