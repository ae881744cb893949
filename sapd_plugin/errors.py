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


def misspelt(name: object, valid: Iterable[str]) -> str:
    """Return the valid name that ``name`` is a misspelling of; an empty string if it is valid, or like none.

    >>> misspelt('mask_stor', ['mask_store']), misspelt('mask_store', ['mask_store']), misspelt('scale', ['mask_store'])
    ('mask_store', '', '')
    """
    valid = list(valid)
    matches = [] if name in valid else difflib.get_close_matches(str(name), valid, n=1, cutoff=0.8)
    return matches[0] if matches else ''


def check_choice(key: str, value: object, valid: Iterable[str]) -> None:
    """Refuse a ``value`` of config key ``key`` that is not one of ``valid``.

    Raises:
        SAPDError: naming the key, the value, the valid values and the nearest of them.
    """
    valid = list(valid)
    if not isinstance(value, str) or value not in valid:
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


def check_integer(key: str, value: object, at_least: float = -math.inf, below: float = math.inf) -> None:
    """Refuse a ``value`` of config key ``key`` that is not an integer in a range; a bool is not an integer here.

    Raises:
        SAPDError: naming the key, the value and what is expected.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not at_least <= value < below:
        least = '' if at_least == -math.inf else f' >= {at_least:g}'
        most = '' if below == math.inf else f' below {below:.0f}'
        raise SAPDError(f'{key}: found {value!r}, expected an integer{least}{most}.{_as_number(value, whole=True)}')


def check_count(key: str, value: object, at_least: int = 1) -> None:
    """Refuse a ``value`` of config key ``key`` that is not an integer >= ``at_least``; a bool is not an integer here.

    Raises:
        SAPDError: naming the key, the value and what is expected.
    """
    check_integer(key, value, at_least)


def check_number(
    key: str, value: object, at_least: float = -math.inf, at_most: float = math.inf, above: float | None = None
) -> None:
    """Refuse a ``value`` of config key ``key`` that is not a finite number in a range; a bool is not a number here.

    Args:
        key: config key, for the message.
        value: to check.
        at_least: smallest number.
        at_most: largest number.
        above: what the number has to exceed, or None.

    Raises:
        SAPDError: naming the key, the value and what is expected.

    >>> check_number('mix', '1e-1', at_least=0, at_most=1)
    Traceback (most recent call last):
    sapd_plugin.errors.SAPDError: mix: found '1e-1', expected a number in [0, 1]. In YAML, write 0.1.
    """
    if not _is_finite(value) or not at_least <= value <= at_most or (above is not None and value <= above):  # type: ignore[operator]
        if at_most < math.inf:
            low = f'[{at_least:g}' if above is None else f'({above:g}'
            expected = f'a number in {low}, {at_most:g}]'
        elif above is not None:
            expected = f'a number > {above:g}'
        else:
            expected = 'a number' if at_least == -math.inf else f'a number >= {at_least:g}'
        raise SAPDError(f'{key}: found {value!r}, expected {expected}.{_as_number(value)}')


def _is_finite(value: object) -> bool:
    """Return whether ``value`` is an int or a float that a float can hold, except NaN and infinity."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer above the largest float
        return False


def _as_number(value: object, whole: bool = False) -> str:
    """Return how to write a number that is text, because YAML 1.1 reads 1e-1 and 1.0e5 as text; or an empty string.

    Args:
        value: what a config holds.
        whole: whether an integer is expected.
    """
    try:
        meant = float(value) if isinstance(value, str) else math.nan
    except ValueError:
        return ''
    if not math.isfinite(meant) or (whole and not meant.is_integer()):
        return ''
    mantissa, exponent, power = repr(int(meant) if whole else meant).partition('e')
    dot = '.0' if exponent and '.' not in mantissa else ''
    return f' In YAML, write {mantissa}{dot}{exponent}{power}.'


def check_text(key: str, value: object) -> None:
    """Refuse a ``value`` of config key ``key`` that is not text, or empty.

    Raises:
        SAPDError: naming the key and the value.
    """
    if not isinstance(value, str) or not value:
        raise SAPDError(f'{key}: found {value!r}, expected text.')


def check_template(key: str, value: object) -> None:
    """Refuse a ``value`` of config key ``key`` that is not a file name with one ``{}`` for an image's name.

    Raises:
        SAPDError: naming the key and the value.

    >>> check_template('filename_tmpl', '{}_restored')
    >>> check_template('filename_tmpl', '{x}')
    Traceback (most recent call last):
    sapd_plugin.errors.SAPDError: filename_tmpl: found '{x}', expected text with one {} for the name of an image.
    """
    rest = value.replace('{0}', '{}').split('{}') if isinstance(value, str) else []
    if len(rest) != 2 or any(brace in part for part in rest for brace in '{}'):
        raise SAPDError(f'{key}: found {value!r}, expected text with one {{}} for the name of an image.')


def check_flag(key: str, value: object) -> None:
    """Refuse a ``value`` of config key ``key`` that is neither True nor False.

    Raises:
        SAPDError: naming the key and the value.
    """
    if not isinstance(value, bool):
        raise SAPDError(f'{key}: found {value!r}, expected true or false.')


def describe(error: BaseException) -> str:
    """Return an error of other code in one line, with its kind where its text alone would say little.

    >>> describe(KeyError('params')), describe(ValueError('no scale 5'))
    ("KeyError: 'params'", 'no scale 5')
    """
    text = ' '.join(str(error).split())
    kind = type(error).__name__
    return text if isinstance(error, (ValueError, AssertionError, RuntimeError)) and text else f'{kind}: {text}'


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
