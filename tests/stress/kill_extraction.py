"""Kill extraction ranks at random moments, start them again, and check that nothing is lost, doubled or changed.

python -m tests.stress.kill_extraction [--kills 100] [--images 200] [--ranks 2 ...] [--seed 0] [--folder DIR]
    [--replace]

Ranks are forked from this process, which has imported everything, so that kills hit the work and not the imports. A
third of them end by a signal of their own while they close the store, which takes a few milliseconds only. A store that
is complete before its time is checked and begun anew. With several numbers of ranks, all are killed and the next number
takes over. With --replace, each store first holds masks of other photos with the same names. Exit status: 0 all checks passed, 1 one did not.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from sapd_plugin.cli import extract_masks
from sapd_plugin.priors.inspection.report import inspect_store
from sapd_plugin.priors.store import MaskStore, MaskStoreWriter
from sapd_plugin.priors.store.meta_info import read_keys
from tests.stress.forks import fork

# Of the time to the next kill: of a start, of the first images, of steady work; as shares of the time that one rank
# takes for all images, so that on a busy machine kills hit the work, too.
MEAN_SHARES = (0.01, 0.05, 0.2, 0.6)
# From the beginning of closing a store, which takes about 5 milliseconds, to a kill.
MEAN_CLOSING = 0.003


def make_photos(folder: Path, count: int, size: tuple[int, int] = (64, 64), seed: int = 0) -> Path:
    """Write smooth noise of ``size`` (W, H), all different, as 0000.png, 0001.png, ..."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        noise = np.random.default_rng(i + 1_000_000 * seed).integers(0, 256, (6, 9, 3), np.uint8)
        cv2.imwrite(str(folder / f'{i:04}.png'), cv2.resize(noise, size, interpolation=cv2.INTER_CUBIC))
    return folder


def start(photos: Path, store: Path, rank: int, ranks: int, replace: bool = False, closing: float | None = None) -> int:
    """Fork one rank of the extraction command and return its process id.

    With ``closing``, a signal ends it that many seconds after it begins to close the store.
    """
    process = fork()
    if process == 0:
        status = 99
        if closing is not None:
            _end_in_close(closing)
        with contextlib.suppress(BaseException), (store.parent / 'output.txt').open('a') as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            arguments = ['--images', photos, '--output', store, '--segmenter', 'felzenszwalb']
            arguments += ['--shard', f'{rank}/{ranks}', '--set', 'min_size=20', *['--replace'] * replace]
            status = extract_masks.main([str(argument) for argument in arguments])
        os._exit(status)
    return process


def _end_in_close(seconds: float) -> None:
    close = MaskStoreWriter.close

    def close_in_time(writer: MaskStoreWriter) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends it at once, within any system call
        signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-6))
        close(writer)

    MaskStoreWriter.close = close_in_time  # type: ignore[method-assign]


def run_to_the_end(photos: Path, store: Path, ranks: int, replace: bool = False) -> list[str]:
    """Run all ranks side by side without a kill; return what went wrong."""
    processes = [start(photos, store, i, ranks, replace) for i in range(ranks)]
    statuses = [os.waitpid(process, 0)[1] for process in processes]
    return [f'rank {i} ended with status {status >> 8}' for i, status in enumerate(statuses) if status]


def torment(
    photos: Path, store: Path, ranks: int, kills: int, rng: random.Random, seconds: float, replace: bool = False
) -> tuple[int, list[str]]:
    """Kill random ranks, and start them again, until ``kills`` are done or the store is complete.

    ``seconds`` is the time that one rank takes for all photos.

    Returns:
        The number of kills, and what went wrong.
    """
    running: dict[int, int] = {}
    finished: set[int] = set()
    problems: list[str] = []
    done = 0
    while done < kills and len(finished) < ranks and not problems:
        for rank in set(range(ranks)) - finished - running.keys():
            closing = rng.expovariate(1 / MEAN_CLOSING) if rng.random() < 1 / 3 else None
            running[rank] = start(photos, store, rank, ranks, replace, closing)
        time.sleep(rng.expovariate(1 / (seconds * rng.choice(MEAN_SHARES))))
        victim = rng.choice(sorted(running))
        os.kill(running[victim], signal.SIGKILL)
        _, status = os.waitpid(running.pop(victim), 0)
        if os.WIFSIGNALED(status):
            done += 1
        elif status:
            problems.append(f'rank {victim} ended with status {status >> 8} by itself')
        else:
            finished.add(victim)
    for process in running.values():
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
    return done, problems


def check(photos: Path, store: Path, reference: Path) -> list[str]:
    """Compare a finished store with one that was never interrupted: same keys, same bytes, no double, no stale line."""
    expected = dict(_records(reference))
    found = inspect_store(MaskStore(store), expected)
    problems = [*found.problems, *(f'missing: {key}' for key in found.missing or []), *found.extra]
    records = dict(_records(store))
    problems += [f"key '{key}': other bytes" for key in expected if records.get(key) != expected[key]]
    lines = sorted(read_keys(store))
    if lines != sorted(path.stem for path in photos.iterdir()):
        problems.append(f'meta_info.txt: {len(lines)} lines, {len(set(lines))} different')
    return problems


def _records(store: Path) -> list[tuple[str, bytes]]:
    with contextlib.closing(MaskStore(store)) as masks:
        return [(key, value) for key, _, value, _ in masks.scan()]


def _begin(store: Path, others: Path | None, ranks: int) -> list[str]:
    return [] if others is None else run_to_the_end(others, store, ranks)


def run(folder: Path, kills: int, images: int, ranks: Sequence[int], seed: int, replace: bool = False) -> list[str]:
    """Torment as many stores as it takes, and let their ranks end unharmed; print each, return all problems."""
    photos, rng = make_photos(folder / 'photos', images), random.Random(seed)
    problems = run_to_the_end(photos, folder / 'reference', 1)
    expected = dict(_records(folder / 'reference')) if not problems else {}
    others = make_photos(folder / 'others', images, (48, 80), seed=1) if replace else None
    problems += _begin(folder / 'measured', others, 1)
    begun = time.perf_counter()
    problems += run_to_the_end(photos, folder / 'measured', 1, replace)
    seconds = time.perf_counter() - begun
    done, stores = 0, 0
    while done < kills and not problems:
        store = folder / f'store-{stores}'
        left, here = kills - done, 0
        problems += _begin(store, others, ranks[0])
        for phase, count in enumerate(ranks, start=1):
            more, found = torment(photos, store, count, left * phase // len(ranks) - here, rng, seconds, replace)
            here, problems = here + more, problems + found
        records = _records(store) if list(store.glob('shard-*')) else []
        reached = sum(expected.get(key) == value for key, value in records)
        problems += run_to_the_end(photos, store, ranks[-1], replace)
        problems = problems or check(photos, store, folder / 'reference')
        done, stores = done + here, stores + 1
        print(f'{store.name}: {here} kills, {reached} masks by then, {len(problems)} problems', flush=True)
    numbers = ', '.join(map(str, ranks))
    print(f'{done} kills of {numbers} ranks over {images} images in {stores} stores: {len(problems)} problems')
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=100)
    parser.add_argument('--images', type=int, default=200)
    parser.add_argument('--ranks', type=int, nargs='+', default=[2], help='one number after the other')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--replace', action='store_true', help='stores of other photos, whose masks are made again')
    parser.add_argument('--folder', type=Path, help='keep everything here; by default it is deleted')
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        problems = run(folder, options.kills, options.images, options.ranks, options.seed, options.replace)
    print(*problems, sep='\n', end='')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
