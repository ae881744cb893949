"""The networks of :mod:`sapd_plugin.archs` under MMagic's names."""

from __future__ import annotations

# Imported before names are checked: MMagic registers its own networks on import.
from mmagic.models.editors import EDSRNet, SwinIRNet
from mmagic.registry import MODELS

from sapd_plugin.archs import NETWORKS

ALIASES = {'EDSR': EDSRNet, 'SwinIR': SwinIRNet}


def register_networks() -> None:
    """Register each network under its name, or as ``<name>_sapd`` where the name is taken.

    NAFNet, NAFNetLocal and Restormer are MMagic's own. They have their authors' parameter names, as ours have, so the
    same checkpoints load, and the same outputs; NAFNet's arguments have other names (``img_channels``,
    ``mid_channels``). MMagic's EDSRNet and SwinIRNet can be named as EDSR and SwinIR as well, their usual names; SwinIR
    loads its authors' checkpoints, EDSR those that MMagic publishes.
    """
    for name, network in {**NETWORKS, **ALIASES}.items():
        MODELS.register_module(name=f'{name}_sapd' if name in MODELS.module_dict else name, module=network)
