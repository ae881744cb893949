"""The error type for a user's mistakes, and checks whose messages have the same wording everywhere."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager


class SAPDError(ValueError):
    """A mistake in a config, a command line or a data set that the user can correct.

    The message names the key or file, what was found, what is expected and, for names, the nearest valid one.
    """


def nearest(name: object, valid: Iterable[str]) -> str:
    """Return ``" Did you mean 'x'?"`` for the valid name nearest to ``name``, or an empty string."""
    matches = difflib.get_close_matches(str(name), list(valid), n=1, cutoff=0.5)
    return f" Did you mean '{matches[0]}'?" if matches else ''


def check_choice(key: str, value: object, valid: Iterable[str]) -> None:
    """Refuse a ``value`` of config key ``key`` that is not one of ``valid``.

    Raises:
        SAPDError: naming the key, the value, the valid values and the nearest of them.
    """
    valid = list(valid)
    if value not in valid:
        raise SAPDError(f'{key}: found {value!r}, expected one of {", ".join(valid)}.{nearest(value, valid)}')


def check_keys(where: str, found: Iterable[str], valid: Iterable[str]) -> None:
    """Refuse keys below ``where`` that are not in ``valid``.

    Raises:
        SAPDError: naming the first unknown key, the valid keys and the nearest of them.
    """
    valid = list(valid)
    for key in found:
        if key not in valid:
            raise SAPDError(f"{where}: unknown key '{key}'. Valid keys: {', '.join(valid)}.{nearest(key, valid)}")


def check_count(key: str, value: object, at_least: int = 1) -> None:
    """Refuse a ``value`` of config key ``key`` that is not an integer >= ``at_least``; a bool is not an integer here.

    Raises:
        SAPDError: naming the key, the value and what is expected.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise SAPDError(f'{key}: found {value!r}, expected an integer >= {at_least}.')


@contextmanager
def within(key: str) -> Iterator[None]:
    """Prefix the messages of :class:`SAPDError` in the block with a config key.

    Framework-free code names its own arguments. This turns ``encoding: found ...`` into ``network_spf.encoding: found
    ...``.
    """
    try:
        yield
    except SAPDError as error:
        raise SAPDError(f'{key}.{error}') from error
