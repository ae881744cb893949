"""SPF as a network that MMagic builds from a config block."""

from __future__ import annotations

from typing import Any

from mmagic.registry import MODELS
from torch import nn

from sapd_plugin.core import SPF, build_spf


@MODELS.register_module(name='SPF')
def build_spf_network(network: dict[str, Any] | None = None, **settings: Any) -> SPF:
    """Build :class:`sapd_plugin.core.SPF` around a second network that a config block names.

    Args:
        network: config of any registered network, at scale 1; SAPDModel fills in ``generator``.
        **settings: the other arguments of :class:`sapd_plugin.core.SPF`.

    Raises:
        SAPDError: no network, or an unknown or invalid setting.
    """
    return build_spf('network_spf', _build_initialised, network, settings)


def _build_initialised(config: Any) -> nn.Module:
    network = MODELS.build(config)
    # The runner does this for the student; it does not look into a module that is not one of MMEngine's.
    if hasattr(network, 'init_weights'):
        network.init_weights()
    return network
