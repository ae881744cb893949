"""Checks of what the networks are built with, shared by all of them."""

from __future__ import annotations

from sapd_plugin.errors import SAPDError


def check_counts(network: str, least: int = 1, /, **counts: object) -> None:
    """Refuse constructor arguments that are no whole number of at least ``least``.

    Args:
        network: the network's name, for the message.
        least: the smallest number that is allowed.
        **counts: arguments by name; of a list or tuple, each member is checked.

    Raises:
        SAPDError: naming the network, the argument and what was found.
    """
    for key, value in counts.items():
        members = value if isinstance(value, (list, tuple)) else [value]
        if not all(isinstance(member, int) and not isinstance(member, bool) and member >= least for member in members):
            kind = 'whole numbers' if isinstance(value, (list, tuple)) else 'a whole number'
            raise SAPDError(f'{network}.{key}: found {value!r}, expected {kind} of at least {least}.')
