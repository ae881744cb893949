"""Damage mask stores at random, and check that each damage is named or does no harm.

python -m tests.stress.damage_store [--damages 500] [--images 60] [--seed 0] [--folder DIR]

Each damaged copy of a store is read and then written to in a process of its own. Whatever is read without an error has
to be right; a death by signal, a process that does not end, a raw error and a wrong mask are problems. Exit status: 0
all checks passed, 1 one did not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.inspection.report import inspect_store
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter, manifest
from tests.stress.forks import fork
from tests.stress.kill_extraction import make_photos, run_to_the_end

PAGE = 4096
SECONDS = 60  # for one damaged store; it needs about 0.1
NEW = 'a new mask'
# How a process ends; 'right' is without an error.
RIGHT, NAMED, WRONG, RAW = range(4)
ENDS = ('right', 'named', 'wrong', 'raw error')


class Sample(NamedTuple):
    """A sound store: its folder and the labels of each mask."""

    store: Path
    masks: dict[str, bytes]


def flip(data: bytearray, rng: random.Random) -> str:
    """Flip some bits, more often at the start of a page, where LMDB's own numbers are."""
    for _ in range(rng.choice((1, 1, 2, 8))):
        place = rng.randrange(len(data))
        if rng.random() < 0.5:
            place = min(place // PAGE * PAGE + rng.randrange(160), len(data) - 1)
        data[place] ^= 1 << rng.randrange(8)
    return 'flipped bits'


def overwrite(data: bytearray, rng: random.Random) -> str:
    """Overwrite a page: with noise, zeros or ones, or another page of the file."""
    pages = max(len(data) // PAGE, 1)
    place, other = rng.randrange(pages) * PAGE, rng.randrange(pages) * PAGE
    page = rng.choice((rng.randbytes(PAGE), bytes(PAGE), b'\xff' * PAGE, bytes(data[other : other + PAGE])))
    data[place : place + PAGE] = page[: len(data) - place]
    return 'overwritten page'


def zero(data: bytearray, rng: random.Random) -> str:
    """Fill a range with zeros."""
    begin = rng.randrange(len(data))
    count = min(rng.choice((4, 100, PAGE, 10 * PAGE)), len(data) - begin)
    data[begin : begin + count] = bytes(count)
    return 'zeroed range'


def truncate(data: bytearray, rng: random.Random) -> str:
    """Cut the end off, at a page or anywhere."""
    end = rng.randrange(len(data))
    del data[end // PAGE * PAGE if rng.random() < 0.5 else end :]
    return 'truncation'


def append(data: bytearray, rng: random.Random) -> str:
    """Append noise."""
    data += rng.randbytes(rng.choice((1, 100, PAGE, 3 * PAGE)))
    return 'appended noise'


DAMAGES: tuple[Callable[[bytearray, random.Random], str], ...] = (
    flip,
    flip,
    overwrite,
    overwrite,
    zero,
    truncate,
    append,
)


def damage(store: Path, rng: random.Random) -> str:
    """Damage one file of a store; return what was done."""
    files = sorted(path for path in store.rglob('*') if path.is_file() and path.stat().st_size)
    databases = [path for path in files if path.name == 'data.mdb']
    path = rng.choice(databases if rng.random() < 0.7 else files)
    data = bytearray(path.read_bytes())
    done = rng.choice(DAMAGES)(data, rng)
    path.write_bytes(data)
    return f'{done} in {path.relative_to(store)}'


def read(sample: Sample, store: Path) -> int:
    """Read all masks of a damaged store as training does, inspect it, and write to it; return how that ends."""
    end = RIGHT
    with contextlib.suppress(SAPDError):
        masks = MaskStore(store)
        if set(masks.keys()) != sample.masks.keys():
            return WRONG
        for key, labels in sample.masks.items():
            try:
                record = masks.record(key)
                record.check()
                if record.labels().tobytes() != labels:
                    return WRONG
            except SAPDError:
                end = NAMED
        masks.close()
        sound = inspect_store(MaskStore(store), sample.masks).whole
        if sound and end == NAMED:
            return WRONG
        return max(end, write(sample, store))
    # A store that cannot be read must not be written to, either; or else it is repaired.
    return max(NAMED, write(sample, store))


def write(sample: Sample, store: Path) -> int:
    """Add a mask to a damaged store; return how that ends."""
    try:
        with MaskStoreWriter(store, manifest.read_settings(sample.store)) as writer:
            writer.put(NEW, LabelMap.from_labels(np.eye(50, dtype=int)))
        masks = MaskStore(store)
    except SAPDError:
        return NAMED
    if set(masks.keys()) != {*sample.masks, NEW}:
        return WRONG
    for key, labels in sample.masks.items():
        try:
            if masks.record(key).labels().tobytes() != labels:
                return WRONG
        except SAPDError:
            return NAMED
    return RIGHT


def try_one(sample: Sample, store: Path, log: Path) -> str:
    """Read a damaged store in a process of its own; return how that process ended."""
    process = fork()
    if process == 0:
        signal.alarm(SECONDS)
        end = RAW
        try:
            end = read(sample, store)
        except BaseException as error:
            with log.open('a') as file:
                print(repr(error), file=file)
        os._exit(end)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return 'no end' if number == signal.SIGALRM else f'signal {number}'
    return ENDS[os.WEXITSTATUS(status)]


def make_samples(folder: Path, images: int) -> list[Sample]:
    """Make stores: of one rank, of three, and one whose masks have been replaced, so that it has free pages."""
    photos, samples = make_photos(folder / 'photos', images, (160, 120)), []
    for name, ranks in (('one', 1), ('three', 3), ('replaced', 1)):
        store = folder / name
        assert run_to_the_end(photos, store, ranks) == []
        if name == 'replaced':
            with MaskStoreWriter(store, manifest.read_settings(store)) as writer:
                for i in range(0, images, 3):
                    noise = np.random.default_rng(i).integers(0, 60, (90, 40 + i))
                    writer.put(f'{i:04}', LabelMap.from_labels(noise))
        with contextlib.closing(MaskStore(store)) as masks:
            keys = masks.keys()
            samples.append(Sample(store, {key: masks.record(key).labels().tobytes() for key in keys}))
    return samples


def run(folder: Path, damages: int, images: int, seed: int) -> list[str]:
    """Damage stores ``damages`` times; print the counts, return all problems."""
    samples, rng = make_samples(folder, images), random.Random(seed)
    ends: Counter[str] = Counter()
    problems = []
    for number in range(damages):
        sample, copy = rng.choice(samples), folder / 'damaged'
        shutil.copytree(sample.store, copy)
        done = damage(copy, rng)
        end = try_one(sample, copy, folder / 'errors.txt')
        ends[end] += 1
        if end not in ENDS[: NAMED + 1]:
            problems.append(f'{number}: {done} of {sample.store.name}: {end}')
            shutil.copytree(copy, folder / f'problem-{number}')
        shutil.rmtree(copy)
    counts = ', '.join(f'{count} {end}' for end, count in ends.most_common())
    print(f'{damages} damages: {counts}; {len(problems)} problems')
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--damages', type=int, default=500)
    parser.add_argument('--images', type=int, default=60)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', type=Path, help='keep everything here; by default it is deleted')
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        problems = run(options.folder or Path(temporary), options.damages, options.images, options.seed)
    print(*problems, sep='\n', end='')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
