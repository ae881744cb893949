"""SPF as a network that BasicSR builds from a config block."""

from __future__ import annotations

from typing import Any

from basicsr.archs import build_network

from sapd_plugin.core import SPF, build_spf


def build_spf_network(network: dict[str, Any] | None = None, **settings: Any) -> SPF:
    """Build :class:`sapd_plugin.core.SPF` around a second network that a config block names.

    Args:
        network: block of any registered network, at scale 1; SAPDModel fills in ``network_g``.
        **settings: the other arguments of :class:`sapd_plugin.core.SPF`.

    Raises:
        SAPDError: no network, or an unknown or invalid setting.
    """
    return build_spf('network_spf', build_network, network, settings)
