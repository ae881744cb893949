"""Checks of a downloaded dataset: counts, counterparts, names, sizes, unreadable images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from sapd_plugin.datasets.files import run_jobs
from sapd_plugin.datasets.manifest import Manifest, Part
from sapd_plugin.datasets.patterns import SUFFIXES
from sapd_plugin.datasets.scan import Block, Entry, Scan, Source, blocks_header, scan_part
from sapd_plugin.errors import SAPDError
from sapd_plugin.files import digest
from sapd_plugin.image_header import read_header
from sapd_plugin.priors.extraction.images import ImageError, read_image

SHOWN = 10  # names shown of a long list
Shape = tuple[int, int, int]


@dataclass
class CheckedSplit:
    """A split whose images are complete."""

    name: str
    scans: list[Scan] = field(default_factory=list)  # one per part
    entries: list[Entry] = field(default_factory=list)  # of all parts, sorted by name
    shapes: dict[str, Shape] = field(default_factory=dict)  # (H, W, channels) of each entry's target, by name


def check_dataset(
    manifest: Manifest, splits: list[str], source: Path, any_count: bool, verify: bool, workers: int
) -> list[CheckedSplit]:
    """Find the splits in the source folder and check them completely.

    Args:
        manifest: the dataset.
        splits: names of the splits to check.
        source: the downloaded folder.
        any_count: whether to accept a part of the dataset.
        verify: whether to decode every image and find duplicates, instead of reading only the headers.
        workers: number of threads.

    Raises:
        SAPDError: one message with all problems, and the page of the dataset.
    """
    if not source.is_dir():
        raise SAPDError(f'--source: found no folder {source}, expected the downloaded dataset ({manifest.page}).')
    problems: list[str] = []
    checked = []
    for name in splits:
        result = CheckedSplit(name)
        for part in manifest.splits[name]:
            scan = scan_part(part, source, only=len(splits) == 1)
            where = f'{name}/{part.prefix[:-1]}' if part.prefix else name
            problems += _problems(where, part, scan, source, any_count)
            result.scans.append(scan)
            result.entries += scan.entries
        result.entries.sort(key=lambda entry: entry.name)
        checked.append(result)
    for result in checked:
        problems += _read_shapes(result, verify, workers)
    if problems:
        missing = [result.name for result in checked if not result.entries]
        complete = [result.name for result in checked if result.entries]
        hint = f'\n--split {" ".join(complete)} prepares the complete ones.' if missing and complete else ''
        lines = '\n'.join(f'- {problem}' for problem in problems)
        raise SAPDError(
            f"{source} is not {manifest.folder} as expected:\n{lines}\nThe dataset's page: {manifest.page}{hint}"
        )
    return checked


def _problems(where: str, part: Part, scan: Scan, source: Path, any_count: bool) -> list[str]:
    counts = ' or '.join(map(str, part.counts))
    if not scan.inputs + scan.targets:
        reason = _not_used(where, part, scan, source, counts)
        if reason:
            return [f'{where}: {reason}']
        known = '; '.join(map(str, part.layouts))
        inside = sorted(path.name + ('/' if path.is_dir() else '') for path in source.iterdir())
        holds = f'{source} holds {some(inside)}. Images end with {", ".join(SUFFIXES)}.'
        return [f'{where}: found no image, expected {counts} in one of: {known}. {holds}']
    problems = []
    if scan.alone:
        paths = [file.path if isinstance(file, Block) else file for file in scan.alone]
        alone = dict.fromkeys(path.relative_to(source) for path in paths)
        problems.append(f'{where}: without a counterpart: {some(alone)} (in {scan.describe()}).')
    if scan.repeated:
        problems.append(f'{where}: two files for one image: {some(scan.repeated)}.')
    found = len(scan.entries)
    if found not in part.counts and not (any_count and found):
        advice = 'no pair matches' if not found else '--any-count accepts them'
        problems.append(f'{where}: found {found} (in {scan.describe()}), expected {counts}; {advice}.')
    return problems


def _not_used(where: str, part: Part, scan: Scan, source: Path, counts: str) -> str:
    """Return why a layout that is there was not used, and what to do; an empty string if none is there."""
    for layout in part.layouts:
        absent = layout.pairs_file is not None and not (source / layout.pairs_file).is_file()
        if absent and next(layout.target.find(source), None) is not None:
            return f'found {layout.target} without the list {layout.pairs_file}, expected it: it names the pairs.'
    if scan.unused is None:
        return ''
    found = len(scan.unused.entries)
    split = f'--split {where.removesuffix("/" + part.prefix[:-1]) if part.prefix else where}'
    flags = split if found in part.counts else f'{split} --any-count' if found else split
    pairs = f'{found} pairs' if scan.unused.layout.input is not None else f'{found} images'
    return (
        f'found {pairs} in {scan.unused.layout}, whose folders do not name the split: they are only used where '
        f'the count is right, which is {counts}. If they are this split, add {flags}.'
    )


def _read_shapes(result: CheckedSplit, verify: bool, workers: int) -> list[str]:
    def read(entry: Entry) -> tuple[dict[str, Shape], list[str], str]:
        shapes, unreadable, checksum = {}, [], ''
        for side, source in entry.sides.items():
            try:
                shapes[side] = source_shape(source)
                if verify and isinstance(source, Path):
                    read_image(source)
                    # Many pairs may share a target.
                    checksum = checksum or digest(source)
            except (ImageError, OSError) as error:
                unreadable.append(str(error))
        return shapes, unreadable, checksum

    name = result.name
    label = f'{name}: decoding' if verify else f'{name}: reading headers'
    readings = run_jobs(read, result.entries, workers, label)
    problems: list[str] = []
    unreadable = [message for _, messages, _ in readings for message in messages]
    if unreadable:
        problems.append(f'{name}: unreadable: {some(unreadable)}')
    unequal = []
    same: dict[str, list[str]] = defaultdict(list)
    for entry, (shapes, _, checksum) in zip(result.entries, readings):
        if 'target' in shapes:
            result.shapes[entry.name] = shapes['target']
        sizes = {side: f'{shape[0]}x{shape[1]}' for side, shape in shapes.items()}
        if len(set(sizes.values())) > 1:
            unequal.append(f'{entry.name} (input {sizes["input"]}, target {sizes["target"]})')
        if checksum:
            same[checksum].append(entry.name)
    if unequal:
        problems.append(f'{name}: input and target of different sizes: {some(unequal)}.')
    twins = [' = '.join(names) for names in same.values() if len(names) > 1]
    if twins:
        # Some published sets repeat an image: worth knowing, but not the user's error.
        print(f'{name}: the same image under two names: {some(twins)}.')
    return problems


def source_shape(source: Source) -> Shape:
    """Return (H, W, channels) of an image: the size as OpenCV decodes it, the channels of the file; see `read_header`.

    Raises:
        ImageError: the file is not an image.
    """
    if isinstance(source, Block):
        shape = blocks_header(source.path)[1]
        return shape[2], shape[3], shape[4]
    try:
        return read_header(source)[:3]
    except OSError as error:
        raise ImageError(f'{source}: not an image, or truncated ({error}).') from error


def some(names: Iterable[object]) -> str:
    """Join the first names of a list and the number of the others."""
    texts = [str(name) for name in names]
    more = f' and {len(texts) - SHOWN} more' if len(texts) > SHOWN else ''
    return (', '.join(texts[:SHOWN]) or 'nothing') + more
