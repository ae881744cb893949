"""The networks of :mod:`sapd_plugin.archs` under MMagic's names."""

from __future__ import annotations

# Complete before a name is called free: MMagic registers its own networks when it is imported.
from mmagic.models.editors import EDSRNet, SwinIRNet
from mmagic.registry import MODELS

from sapd_plugin.archs import NETWORKS

ALIASES = {'EDSR': EDSRNet, 'SwinIR': SwinIRNet}


def register_networks() -> None:
    """Register each network under its name, or as ``<name>_sapd`` where the name is taken.

    NAFNet, NAFNetLocal and Restormer are MMagic's own. They have their authors' parameter names as ours have, so that
    the same checkpoints load, and the same outputs; NAFNet's arguments are named otherwise (``img_channels``,
    ``mid_channels``). MMagic's EDSRNet and SwinIRNet can be named as EDSR and SwinIR as well, their usual names; SwinIR
    loads its authors' checkpoints, EDSR those that MMagic publishes.
    """
    for name, network in {**NETWORKS, **ALIASES}.items():
        MODELS.register_module(name=f'{name}_sapd' if name in MODELS.module_dict else name, module=network)
