"""Comparison of two stores of the same images: how well their regions agree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from operator import itemgetter
from typing import Any

import numpy as np

from sapd_plugin.priors.inspection.overlap import compare_maps
from sapd_plugin.priors.inspection.report import Spread
from sapd_plugin.priors.store import MaskStore, manifest

_SHOWN = 5


@dataclass
class Comparison:
    """The result of `compare_stores`.

    Attributes:
        stores: the two folders.
        settings: the settings in which the stores differ, one line each.
        common: number of keys in both stores with masks of equal size.
        missing: keys that the first or the second lacks.
        other_size: keys whose masks differ in size.
        matched_iou: spread over the common keys, see `overlap.MapAgreement`.
        coverage, regions: mean of the first and of the second store over the common keys.
        worst: (key, matched IoU), the lowest first.
    """

    stores: tuple[str, str]
    settings: list[str]
    common: int
    missing: tuple[list[str], list[str]]
    other_size: list[str]
    matched_iou: Spread
    coverage: tuple[float, float]
    regions: tuple[float, float]
    worst: list[tuple[str, float]]

    @property
    def same_images(self) -> bool:
        """True if both have masks of the same images and sizes."""
        return not (self.missing[0] or self.missing[1] or self.other_size)

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        values = {**asdict(self), 'matched_iou': self.matched_iou._asdict()}
        # JSON has no NaN.
        return values if self.common else {**values, 'matched_iou': None, 'coverage': None, 'regions': None}

    def lines(self) -> Iterable[str]:
        """Yield the lines of the summary."""
        yield f'first         {self.stores[0]}'
        yield f'second        {self.stores[1]}'
        lacking = ', '.join(f'{name} {len(keys)}' for name, keys in zip(('first', 'second'), self.missing))
        yield f'common        {self.common:,} masks; missing: {lacking}'
        if self.common:
            yield f'matched IoU   {self.matched_iou.text(3)}'
            yield f'coverage      mean {100 * self.coverage[0]:.1f} % and {100 * self.coverage[1]:.1f} %'
            yield f'regions       mean {self.regions[0]:.1f} and {self.regions[1]:.1f}'
            yield 'least alike   ' + ', '.join(f'{key} {iou:.3f}' for key, iou in self.worst)
        yield from (f'setting       {difference}' for difference in self.settings)
        yield from (f'other size    {key}' for key in self.other_size[:_SHOWN])


def compare_stores(
    first: MaskStore, second: MaskStore, progress: Callable[[int, int], None] | None = None
) -> Comparison:
    """Compare all masks that two stores have in common; their settings may differ.

    ``progress`` is called with (keys compared, total) after each key.

    Raises:
        RecordError: a record is damaged.
    """
    keys = set(first.keys()), set(second.keys())
    both = sorted(keys[0] & keys[1])
    other_size, found = [], {}
    for done, key in enumerate(both, start=1):
        maps = first.record(key).labels(), second.record(key).labels()
        if maps[0].shape != maps[1].shape:
            other_size.append(key)
        else:
            found[key] = compare_maps(*maps)
        if progress is not None:
            progress(done, len(both))

    def means(name: str) -> tuple[float, float]:
        values = np.array([getattr(agreement, name) for agreement in found.values()]).reshape(-1, 2)
        return tuple(values.mean(axis=0).tolist()) if len(values) else (float('nan'),) * 2

    matched = {key: agreement.matched_iou for key, agreement in found.items()}
    return Comparison(
        stores=(str(first.path), str(second.path)),
        settings=manifest.differences(first.settings, second.settings),
        common=len(found),
        missing=(sorted(keys[1] - keys[0]), sorted(keys[0] - keys[1])),
        other_size=other_size,
        matched_iou=Spread.of(list(matched.values())),
        coverage=means('coverage'),
        regions=means('regions'),
        worst=sorted(matched.items(), key=itemgetter(1))[:_SHOWN],
    )
