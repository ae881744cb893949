"""Settings of a degradation: numbers and ranges, read from a preset and from the command line's KEY=VALUE."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from sapd_plugin.errors import SAPDError, check_keys

S = TypeVar('S')

# Lowest and highest value; a value is drawn uniformly between them, separately for each image (or layer).
Range = tuple[float, float]


def read_settings(preset: S, given: Sequence[str]) -> S:
    """Replace fields of a preset, a dataclass of ranges, by ``key=value`` or ``key=low,high`` of the command line.

    Raises:
        SAPDError: an unknown key, a value that is not a number, or a range whose ends are swapped.
    """
    fields = [field.name for field in dataclasses.fields(preset)]  # type: ignore[arg-type]
    changes: dict[str, Range] = {}
    for item in given:
        key, equals, text = item.partition('=')
        if not equals:
            raise SAPDError(f'--set: found {item!r}, expected key=value or key=low,high.')
        check_keys('--set', [key], fields)
        changes[key] = read_range(f'--set {key}', text)
    return dataclasses.replace(preset, **changes)  # type: ignore[type-var]


def read_range(where: str, text: str) -> Range:
    """Read ``'3'`` as (3, 3) and ``'3,9'`` as (3, 9)."""
    try:
        numbers = [float(part) for part in text.split(',')]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2) or not all(math.isfinite(number) for number in numbers) or numbers[0] > numbers[-1]:
        raise SAPDError(f'{where}: found {text!r}, expected a number, or a lowest and a highest one: low,high.')
    return numbers[0], numbers[-1]


def check_bounds(settings: object, bounds: Mapping[str, Range]) -> None:
    """Refuse a range that exceeds the bounds of its key.

    Raises:
        SAPDError: naming the key and both ranges.
    """
    for key, (lowest, highest) in bounds.items():
        low, high = getattr(settings, key)
        if low < lowest or high > highest:
            raise SAPDError(f'--set {key}: found {low:g},{high:g}, expected within {lowest:g},{highest:g}.')


def draw(random: np.random.Generator, limits: Range) -> float:
    """Draw from a range, rounded so that the recorded text is the exact value."""
    return round(float(random.uniform(*limits)), 6)


def draw_integer(random: np.random.Generator, limits: Range) -> int:
    """Draw an integer from a range, both ends included."""
    return int(random.integers(round(limits[0]), round(limits[1]) + 1))
