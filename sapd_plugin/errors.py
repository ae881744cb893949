"""The error type for a user's mistakes, and checks whose messages have the same wording everywhere."""

from __future__ import annotations

import difflib
import math
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


def check_number(key: str, value: object, at_least: float = -math.inf, at_most: float = math.inf) -> None:
    """Refuse a ``value`` of config key ``key`` that is not a finite number in a range; a bool is not a number here.

    Raises:
        SAPDError: naming the key, the value and what is expected.

    >>> check_number('mix', '1e-1', at_least=0, at_most=1)
    Traceback (most recent call last):
    sapd_plugin.errors.SAPDError: mix: found '1e-1', expected a number in [0, 1].
    """
    if not _is_finite(value) or not at_least <= value <= at_most:  # type: ignore[operator]
        if at_most < math.inf:
            expected = f'a number in [{at_least:g}, {at_most:g}]'
        else:
            expected = 'a number' if at_least == -math.inf else f'a number >= {at_least:g}'
        raise SAPDError(f'{key}: found {value!r}, expected {expected}.')


def _is_finite(value: object) -> bool:
    """Return whether ``value`` is an int or a float that a float can hold, except NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer above the largest float
        return False


def check_index(key: str, value: object) -> None:
    """Refuse a ``value`` of config key ``key`` that is neither an integer nor None; a bool is not an integer here.

    Raises:
        SAPDError: naming the key and the value.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise SAPDError(f'{key}: found {value!r}, expected an integer or nothing.')


def check_flag(key: str, value: object) -> None:
    """Refuse a ``value`` of config key ``key`` that is neither True nor False.

    Raises:
        SAPDError: naming the key and the value.
    """
    if not isinstance(value, bool):
        raise SAPDError(f'{key}: found {value!r}, expected true or false.')


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
