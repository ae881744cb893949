"""Report on a mask store: counts, coverage, sizes, settings and problems."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import numpy as np

from sapd_plugin.priors.store import MaskStore
from sapd_plugin.priors.store.codec import Record, RecordError
from sapd_plugin.priors.store.meta_info import META_INFO, read_lines

# Maximum number of lines of a list.
_SHOWN = 10


class Spread(NamedTuple):
    """Distribution of a number over the images; NaN without images."""

    least: float = math.nan
    median: float = math.nan
    mean: float = math.nan
    most: float = math.nan

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise values."""
        if not values:
            return cls()
        return cls(min(values), statistics.median(values), statistics.fmean(values), max(values))

    def text(self, digits: int = 1, factor: float = 1.0, unit: str = '') -> str:
        """Return it as one line."""
        return ', '.join(f'{name} {factor * value:,.{digits}f}{unit}' for name, value in self._asdict().items())


_NOTHING = Spread()


@dataclass
class Inspection:
    """The result of `inspect_store`.

    Attributes:
        store, fingerprint, settings: the store, and the settings of its masks.
        masks: records in all shards.
        shards: name -> records.
        disk_bytes: space that the folder's files take; record_bytes: that of the records alone.
        regions, coverage, megapixels, bytes_each: spread over the images; coverage is 0..1.
        sizes: (H, W) -> number of images, the most frequent first.
        with_colors: records that hold the colors of their regions, which ``mask_context`` needs.
        with_digests: records that hold digests of the image that was segmented.
        without_regions: keys of images without a region.
        problems: one line each: damage, different settings, a key in two shards, a stale meta_info.txt.
        missing: expected keys that the store lacks; None if no keys were expected.
        extra: keys that were not expected.
    """

    store: str
    fingerprint: str
    settings: dict[str, Any]
    masks: int
    shards: dict[str, int] = field(default_factory=dict)
    disk_bytes: int = 0
    record_bytes: int = 0
    regions: Spread = _NOTHING
    coverage: Spread = _NOTHING
    megapixels: Spread = _NOTHING
    bytes_each: Spread = _NOTHING
    sizes: list[tuple[tuple[int, int], int]] = field(default_factory=list)
    with_colors: int = 0
    with_digests: int = 0
    without_regions: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    missing: list[str] | None = None
    extra: list[str] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """True if nothing is wrong and no expected mask is missing."""
        return not self.problems and not self.missing

    def to_json(self) -> dict[str, Any]:
        """Return the result as JSON values; spreads as objects."""
        values = asdict(self)
        for name in ('regions', 'coverage', 'megapixels', 'bytes_each'):
            values[name] = getattr(self, name)._asdict() if self.masks else None
        values['sizes'] = [{'height': h, 'width': w, 'images': count} for (h, w), count in self.sizes]
        return values

    def lines(self) -> Iterable[str]:
        """Yield the lines of the summary: an aligned table, then problems and missing masks."""
        sizes = ', '.join(f'{h}x{w} ({count})' for (h, w), count in self.sizes[:4])
        more = f' and {len(self.sizes) - 4} more' if len(self.sizes) > 4 else ''
        rows: dict[str, str] = {
            'store': self.store,
            'fingerprint': self.fingerprint,
            'masks': f'{self.masks:,} in {len(self.shards)} shard{"s" * (len(self.shards) != 1)}',
            'size': f'{self.disk_bytes:,} bytes on disk, {self.record_bytes:,} of records',
        }
        if self.masks:
            rows['bytes per mask'] = self.bytes_each.text(0)
            rows['regions per mask'] = self.regions.text()
            rows['coverage'] = self.coverage.text(1, 100, ' %')
            rows['megapixels'] = self.megapixels.text(2)
            rows['sizes'] = sizes + more
            rows['colors'] = f'in {self.with_colors:,} of {self.masks:,} masks'
            rows['image digests'] = f'in {self.with_digests:,} of {self.masks:,} masks'
        rows.update({f'  {key}': str(value) for key, value in self.settings.items()})
        rows['checked'] = 'every record, no problems' if not self.problems else f'{len(self.problems)} problems'
        if self.missing is not None:
            rows['expected'] = f'{len(self.missing)} missing, {len(self.extra)} extra'
        width = max(map(len, rows))
        yield from (f'{name:{width}}  {value}' for name, value in rows.items())
        yield from listed('without regions', self.without_regions)
        yield from listed('problem', self.problems)
        yield from listed('missing', self.missing or [])
        yield from listed('extra', self.extra)


def inspect_store(
    store: MaskStore,
    expected: Collection[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Inspection:
    """Read and verify every record, and compare the keys with the ``expected`` ones.

    ``progress`` is called with (records read, total) after each record.
    """
    found = Inspection(str(store.path), store.fingerprint, store.settings, len(store))
    sizes: Counter[tuple[int, int]] = Counter()
    keys: set[str] = set()
    numbers: list[tuple[float, float, float, float]] = []
    for read, (key, shard, value, problems) in enumerate(store.scan(), start=1):
        keys.add(key)
        found.shards[shard] = found.shards.get(shard, 0) + 1
        found.problems += problems
        if progress is not None:
            progress(read, found.masks)
        try:
            record = Record(value)
            areas = record.regions['area']
        except RecordError:
            continue  # listed as a problem already
        size = record.shape[:2]
        pixels = math.prod(size)
        sizes[size] += 1
        numbers.append((len(areas), int(areas.sum(dtype=np.int64)) / pixels, pixels / 1e6, len(value)))
        found.record_bytes += len(value)
        found.with_colors += record.has_colors
        found.with_digests += record.has_digests
        if not len(areas):
            found.without_regions.append(key)
    if not found.masks:
        found.problems.append('the store is empty: it holds no mask.')
    found.sizes = sizes.most_common()
    if numbers:
        found.regions, found.coverage, found.megapixels, found.bytes_each = map(Spread.of, zip(*numbers))
    # LMDB's lock files are sparse.
    found.disk_bytes = sum(512 * path.stat().st_blocks for path in store.path.rglob('*') if path.is_file())
    lines = read_lines(store.path).count('\n')
    if lines != found.masks:
        found.problems.append(
            f'{META_INFO}: has {lines} lines for {found.masks} masks; rerun the extraction to repair it.'
        )
    if expected is not None:
        found.missing, found.extra = sorted(set(expected) - keys), sorted(keys - set(expected))
    return found


def listed(name: str, items: Sequence[str]) -> Iterable[str]:
    """Yield a line for each of the first items of a list, and one for the others."""
    yield from (f'{name}: {item}' for item in items[:_SHOWN])
    if len(items) > _SHOWN:
        yield f'{name}: and {len(items) - _SHOWN} more (--json lists all)'
