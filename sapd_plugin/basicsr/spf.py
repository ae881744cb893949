"""SPF as a network that BasicSR builds from a config block."""

from __future__ import annotations

from basicsr.archs import build_network

from sapd_plugin import core


def SPF(network: dict | None = None, **settings: object) -> core.SPF:
    """Build :class:`sapd_plugin.core.SPF` around a second network that is named by a config block.

    Args:
        network: block of any registered network, at scale 1; SAPDModel fills in ``network_g``.
        **settings: those of :class:`sapd_plugin.core.SPF`.

    Raises:
        SAPDError: no network, or an unknown setting.
    """
    return core.build_spf(build_network, network, settings)
