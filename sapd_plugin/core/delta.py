"""Config blocks that `sapd add` writes for both frameworks."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from copy import deepcopy
from typing import Any

from sapd_plugin.core.fusion import FusionSettings
from sapd_plugin.core.spf import SPF
from sapd_plugin.errors import check_keys, within

LOSSES = {'spd': {'type': 'SPDLoss', 'loss_weight': 0.1}, 'sgr': {'type': 'SGRLoss', 'loss_weight': 0.1}}


def branch_block(network: Mapping[str, Any] | None, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the config block ``network_spf``.

    Args:
        network: block of the default second network; None means a copy of the student.
        settings: keys of the block, such as ``fusion``, and of its network, such as ``network.type``. A different
            ``network.type`` replaces the default network.

    Raises:
        SAPDError: an unknown key or an invalid value.
    """
    valid = [*(key for key in inspect.signature(SPF).parameters if key != 'network'), 'network.*']
    own = {key: value for key, value in settings.items() if not key.startswith('network.')}
    check_keys('--spf', own, valid)
    fields = inspect.signature(FusionSettings).parameters
    with within('--spf'):
        FusionSettings(**{key: value for key, value in own.items() if key in fields})
    network = deepcopy(dict(network or {}))
    if settings.get('network.type', network.get('type')) != network.get('type'):
        network = {}
    network.update({key.removeprefix('network.'): v for key, v in settings.items() if key.startswith('network.')})
    return {'type': 'SPF', **own, **({'network': network} if network else {})}
