"""SPF as a network that BasicSR builds from a config block."""

from __future__ import annotations

import inspect

from basicsr.archs import build_network

from sapd_plugin import core
from sapd_plugin.errors import SAPDError, check_keys


def SPF(network: dict | None = None, **settings: object) -> core.SPF:
    """Build :class:`sapd_plugin.core.SPF` around a second network that is named by a config block.

    Args:
        network: block of any registered network, at scale 1; SAPDModel fills in ``network_g``.
        **settings: those of :class:`sapd_plugin.core.SPF`.

    Raises:
        SAPDError: no network, or an unknown setting.
    """
    known = list(inspect.signature(core.SPF).parameters)
    check_keys('network_spf', settings, known)
    if not network:
        raise SAPDError('network_spf.network: missing, expected the block of a registered network (type, ...).')
    return core.SPF(build_network(network), **settings)  # type: ignore[arg-type]
