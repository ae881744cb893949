"""Kill `sapd reproduce run` at random moments, with all that it has started, and run it again until it ends.

python -m tests.stress.kill_reproduce [--kills 20] [--seed 0] [--folder DIR]

The cells are a stock training and one with SAPD, of a tiny network: training, masks, test and cost. What is measured
has to equal that of a run that was not interrupted, and every results.json on the way has to be whole. Exit status:
0 all checks passed, 1 one did not.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sapd_plugin.cli import reproduce
from tests.experiments.recipes import definitions
from tests.photos import make_pairs, make_vgg
from tests.stress.forks import fork

CELLS = ('RCAN/tiny/stock/0', 'RCAN/tiny/spd_sgr/0')
# Mean time until a kill, in seconds: while the commands import, and while they work.
MEAN_SECONDS = (8.0, 20.0)
ITERATIONS = 4


def make_data(folder: Path) -> Path:
    """Write the folders of Rain13K with four training pairs and two test pairs."""
    pairs = make_pairs(folder / 'pairs', 6, (160, 160))
    for kind, ours in (('rainy', 'input'), ('clean', 'target')):
        for number, path in enumerate(sorted((pairs / kind).iterdir())):
            part = 'train' if number < 4 else 'test/Rain100L'
            target = folder / 'datasets/Rain13K' / part / ours / path.name
            target.parent.mkdir(parents=True, exist_ok=True)
            path.rename(target)
    return folder / 'datasets'


def start(command: Sequence[str], log: Path) -> int:
    """Fork a process that runs the command in a process group of its own; return its number."""
    process = fork()
    if process == 0:
        status = 1
        try:
            os.setsid()
            with log.open('ab') as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
                status = reproduce.main(command)
        finally:
            os._exit(status)
    return process


def measured(runs: Path) -> dict[str, Any]:
    """Return what does not depend on time, of each cell's results.json.

    Raises:
        ValueError: a file is not whole.
    """
    found = {}
    for path in sorted(runs.rglob('results.json')):
        result = json.loads(path.read_text(encoding='utf-8'))
        training = {key: result['training'].get(key) for key in ('iterations', 'finished', 'masks')}
        found[str(path.parent.relative_to(runs))] = {'training': training, 'tests': result.get('tests')}
    return found


def run(folder: Path, kills: int, seed: int) -> list[str]:
    """Run the cells undisturbed, then torment as many runs as it takes; return what went wrong."""
    data, vgg, rng = make_data(folder), make_vgg(folder), random.Random(seed)
    tables = definitions(folder / 'definitions')

    def command(name: str) -> list[str]:
        fixed = ['--framework', 'basicsr', '--masks-of', 'target', '--segmenter', 'felzenszwalb', '--batch', '2']
        places = ['--definitions', tables, '--output', folder / name, '--data', data, '--vgg-checkpoint', vgg]
        return ['run', 'trial', *CELLS, '--iterations', str(ITERATIONS), *fixed, *map(str, places)]

    def finish(name: str) -> list[str]:
        status = os.waitpid(start(command(name), folder / f'{name}.txt'), 0)[1]
        return [f'{name} ended with status {status >> 8}'] if status else []

    problems = finish('reference')
    expected = measured(folder / 'reference')
    if len(expected) != len(CELLS):
        problems.append(f'reference: found {len(expected)} results')
    done, runs = 0, 0
    while done < kills and not problems:
        name, ended = f'run-{runs}', False
        while done < kills and not ended and not problems:
            process = start(command(name), folder / f'{name}.txt')
            time.sleep(rng.expovariate(1 / rng.choice(MEAN_SECONDS)))
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                problems += [f'{name} ended with status {status >> 8} by itself'] * (status != 0)
                continue
            os.killpg(process, signal.SIGKILL)
            os.waitpid(process, 0)
            done += 1
            try:
                measured(folder / name)
            except ValueError as error:
                problems.append(f'{name}: half of a results.json: {error}')
        problems += finish(name)
        found = measured(folder / name)
        if not problems and found != expected:
            problems.append(f'{name}: found {found}, expected {expected}')
        runs += 1
        print(f'{name}: {done} kills so far, {len(problems)} problems', flush=True)
    print(f'{done} kills in {runs} runs: {len(problems)} problems')
    return problems


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--kills', type=int, default=20)
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--folder', type=Path, help='keep everything here; by default it is deleted')
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        problems = run(folder, options.kills, options.seed)
    print(*problems, sep='\n', end='')
    return 1 if problems else 0


if __name__ == '__main__':
    sys.exit(main())
