"""Search for the images of a part in the source folder, in any of its layouts."""

from __future__ import annotations

import itertools
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import scipy.io

from sapd_plugin.datasets.manifest import Layout, Part
from sapd_plugin.datasets.patterns import Pattern
from sapd_plugin.errors import SAPDError
from sapd_plugin.texts import read_text


@dataclass(frozen=True)
class Block:
    """One image of a MATLAB file with an array (scenes, blocks, H, W, 3) of uint8, RGB."""

    path: Path
    scene: int
    block: int

    def __str__(self) -> str:
        return f'{self.path}[{self.scene},{self.block}]'


Source = Path | Block
# Images and the fields of their names, by the values of the fields that pairs share.
Groups = dict[tuple[str, ...], list[tuple[dict[str, str], Source]]]


@dataclass(frozen=True)
class Entry:
    """An image that is prepared under a name (without suffix), and the sources of its two sides."""

    name: str
    input: Source | None
    target: Source

    @property
    def sides(self) -> dict[str, Source]:
        """Map of folder names to sources."""
        return {'target': self.target} if self.input is None else {'input': self.input, 'target': self.target}


@dataclass
class Scan:
    """The images that a layout found."""

    layout: Layout
    entries: list[Entry] = field(default_factory=list)  # pairs, or targets if there is no input; sorted by name
    inputs: int = 0  # number of them
    targets: int = 0  # number of them
    alone: list[Source] = field(default_factory=list)  # without a counterpart
    repeated: list[str] = field(default_factory=list)  # messages about files that would get the same name
    unused: Scan | None = None  # the best one of the bare layouts, which were not used, if it found images

    def describe(self) -> str:
        """Return the patterns that were searched, and how many files each found."""
        target = f'{self.layout.target}: {self.targets}'
        return target if self.layout.input is None else f'{self.layout.input}: {self.inputs}, {target}'


def scan_part(part: Part, source: Path, only: bool) -> Scan:
    """Try the layouts of a part and return the best match: a valid count first, then the most pairs.

    Args:
        part: the part to find.
        source: the downloaded folder.
        only: whether the user asked only for this split, so bare layouts match with any count.
    """
    scans = [_scan(layout, source) for layout in part.layouts]
    fitting = [
        scan for scan in scans if only or not scan.layout.bare or (len(scan.entries) in part.counts and not scan.alone)
    ]
    best = max(
        fitting or scans[:1],
        key=lambda scan: (len(scan.entries) in part.counts, len(scan.entries), scan.inputs + scan.targets),
    )
    unused = [scan for scan in scans if scan not in fitting and scan.inputs + scan.targets]
    best.unused = max(unused, key=lambda scan: (len(scan.entries), scan.inputs + scan.targets), default=None)
    best.entries = [Entry(prepared_name(part.prefix + e.name), e.input, e.target) for e in best.entries]
    return best


def prepared_name(name: str) -> str:
    """Return a name that every reader accepts.

    BasicSR and MMagic cut meta-file lines at a space, and BasicSR cuts LMDB keys, which are ASCII, at the first dot.

    >>> prepared_name('day 1.5')
    'day_1_5'
    """
    return ''.join(letter if letter.isascii() and letter not in ' .' else '_' for letter in name)


def _scan(layout: Layout, source: Path) -> Scan:
    listed = _listed(source / layout.pairs_file, source) if layout.pairs_file is not None else None
    keys = layout.target.fields
    targets = _group(layout, layout.target, keys, source, listed)
    scan = Scan(layout, targets=sum(map(len, targets.values())))
    if layout.input is None:
        for files in targets.values():
            _add(scan, files[0][0], None, [file for _, file in files])
    else:
        inputs = _group(layout, layout.input, keys, source, listed)
        scan.inputs = sum(map(len, inputs.values()))
        for key, files in inputs.items():
            if key not in targets:
                scan.alone += [file for _, file in files]
                continue
            for fields, file in files:
                _add(scan, fields, file, [target for _, target in targets[key]])
        if not layout.spare_targets:
            scan.alone += [file for key, files in targets.items() if key not in inputs for _, file in files]
    seen: dict[str, Entry] = {}
    for entry in scan.entries:
        first = seen.setdefault(prepared_name(entry.name).casefold(), entry)
        if first is not entry:
            both = [other.input or other.target for other in (first, entry)]
            scan.repeated.append(f'{entry.name}: {both[0]} and {both[1]}')
    scan.entries.sort(key=lambda entry: entry.name)
    return scan


def _group(layout: Layout, pattern: Pattern, keys: list[str], source: Path, listed: set[Path] | None) -> Groups:
    groups: Groups = defaultdict(list)
    if layout.blocks:
        path = source / pattern.text
        scenes, blocks = blocks_header(path)[1][:2] if path.is_file() else (0, 0)
        for scene, block in itertools.product(range(scenes), range(blocks)):
            name = f'{scene:02d}-{block:02d}'
            groups[(name,)].append(({'name': name}, Block(path, scene, block)))
        return groups
    for fields, path in pattern.find(source):
        if listed is None or path in listed:
            groups[tuple(fields[key] for key in keys)].append((fields, path))
    return groups


def _add(scan: Scan, fields: dict[str, str], degraded: Source | None, targets: list[Source]) -> None:
    if scan.layout.name is not None:
        name = scan.layout.name.format(**fields)
    else:
        name = '-'.join(value for key, value in fields.items() if not key.startswith('_'))
    if len(targets) > 1:
        scan.repeated.append(f'{name}: {targets[0]} and {targets[1]}')
    scan.entries.append(Entry(name, degraded, targets[0]))


def _listed(file: Path, source: Path) -> set[Path]:
    """Read a list of pairs: two paths per line, relative to the source folder."""
    if not file.is_file():
        return set()
    return {source / path for line in read_text(file, 'two paths per line').splitlines() for path in line.split()}


def blocks_header(path: Path) -> tuple[str, tuple[int, ...]]:
    """Return the name and the shape of the only array in a MATLAB file, without reading it."""
    try:
        variables = scipy.io.whosmat(path)
    except (ValueError, OSError, NotImplementedError) as error:
        raise SAPDError(f'{path}: cannot be read as a MATLAB file ({error}).') from error
    found = [(name, tuple(shape)) for name, shape, _ in variables]
    if len(found) != 1 or len(found[0][1]) != 5 or found[0][1][4] != 3:
        raise SAPDError(f'{path}: found {found}, expected one array of shape (scenes, blocks, H, W, 3).')
    return found[0]
