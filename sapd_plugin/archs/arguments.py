"""Checks of what the networks are built with, shared by all of them."""

from __future__ import annotations

from sapd_plugin.errors import check_count


def check_counts(network: str, least: int = 1, /, **counts: object) -> None:
    """Refuse constructor arguments that are not integers >= ``least``.

    Args:
        network: the network's name, for the message.
        least: the smallest number that is allowed.
        **counts: arguments by name; each member of a list or tuple is checked.

    Raises:
        SAPDError: naming the network, the argument and what was found.
    """
    for name, value in counts.items():
        for member in value if isinstance(value, (list, tuple)) else [value]:
            check_count(f'{network}.{name}', member, least)
