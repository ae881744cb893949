"""SPF as a network that MMagic builds from a config block."""

from __future__ import annotations

from typing import Any

from mmagic.registry import MODELS
from torch import nn

from sapd_plugin import core


def SPF(network: dict | None = None, **settings: object) -> core.SPF:
    """Build :class:`sapd_plugin.core.SPF` around a second network that is named by a config block.

    Args:
        network: config of any registered network, at scale 1; SAPDModel fills in ``generator``.
        **settings: those of :class:`sapd_plugin.core.SPF`.

    Raises:
        SAPDError: no network, or an unknown setting.
    """
    return core.build_spf(_build_initialised, network, settings)


def _build_initialised(config: Any) -> nn.Module:
    network = MODELS.build(config)
    # The runner does this for the student; it does not look into a module that is none of MMEngine's.
    if hasattr(network, 'init_weights'):
        network.init_weights()
    return network
