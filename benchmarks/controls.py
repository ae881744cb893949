"""Controls of SPF's fusion: what a second network gains by masks, over its mask-free twin.

Tasks are photos that a small, unconverged student has restored (`benchmarks.control_photos`):

region_noise  the positive control: a noise level drawn per region, so masks must matter
weak100       noise of sigma 100
weak50        noise of sigma 50
rain          heavy synthetic rain

Masks are those of the clean photo (privileged) or extracted from y. z is tested on tiles of the training's patch size,
which is where a teacher works; the CSV also holds complete photos. Every arm of a seed starts from the same weights of
the second network and sees the same patches in the same order. Without --data: the six photographs of scikit-image
with felzenszwalb's regions, which shows that the control works, not what masks are worth.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
import torch
from tqdm import tqdm

from benchmarks.control_photos import (
    TASKS,
    Split,
    build_restored_segmenter,
    degraded,
    load,
    restored_by,
    train_student,
    with_masks_of_restored,
)
from sapd_plugin.core.spf import SPF
from sapd_plugin.errors import check_choice
from sapd_plugin.evaluation.mask_trial import MASKS, Plan, gains, spf_loss, train
from sapd_plugin.evaluation.mask_verdict import paired
from sapd_plugin.evaluation.refiner import Refiner

INPUTS = {'y, x': ['restored', 'degraded'], 'y': ['restored']}
SOURCES = ('clean', 'restored')
KEYS = ['task', 'inputs', 'source', 'arm', 'seed']
DTYPES: dict[str, Any] = {'dtype': {'photo': str}}


class Arm(NamedTuple):
    """A second network of one seed.

    Attributes:
        inputs: a key of `INPUTS`.
        source: of its masks, of `SOURCES`; 'none' without masks.
        fusion: of SPF; 'a+b' stands for both.
        one_region: whether it is the mask-free twin.
        seed: of its weights and patches.
    """

    inputs: str
    source: str
    fusion: str
    one_region: bool
    seed: int

    @property
    def name(self) -> str:
        """Return its name in the CSV."""
        return f'{self.fusion}, one region' if self.one_region else self.fusion

    def spf(self) -> SPF:
        """Build SPF around a second network whose weights depend on the seed alone."""
        torch.manual_seed(self.seed)
        kinds = self.fusion.split('+')
        return SPF(
            Refiner(),
            fusion=kinds[0] if len(kinds) == 1 else kinds,
            inputs=INPUTS[self.inputs],
            one_region=self.one_region,
        )


def run(
    data: Path | None = None,
    tasks: Sequence[str] = tuple(TASKS),
    fusions: Sequence[str] = ('modulate',),
    sources: Sequence[str] = ('clean',),
    inputs: str = 'y, x',
    seeds: int = 3,
    iterations: int = 700,
    patch: int = 128,
    output: Path | None = None,
) -> pd.DataFrame:
    """Train and test every arm that ``output`` does not hold yet, and return a line per task, fusion and source.

    Args:
        data: folder with ``train_photos``, ``cbsd68``, ``masks/{train_photos,cbsd68}/NAME.png`` (label maps), and for
            masks extracted from y ``sam/mobile_sam.pt``.
        tasks: keys of ``TASKS``.
        fusions: of SPF; 'a+b' stands for both.
        sources: of the masks: 'clean' photos, or 'restored': extracted from y, in training and in the test.
        inputs: what SPF sees: 'y, x' or 'y'.
        seeds: number of second networks per arm.
        iterations: steps of a second network's training.
        patch: side of its patches in pixels.
        output: CSV of all gains, a line per photo; rows are added after each arm, so a run resumes where it stopped.

    Raises:
        SAPDError: an unknown name, or a folder is missing.
    """
    for key, names, valid in (('tasks', tasks, TASKS), ('sources', sources, SOURCES), ('inputs', [inputs], INPUTS)):
        for name in names:
            check_choice(f'--{key}', name, list(valid))
    plan = Plan(iterations=iterations, patch=patch)
    rows = pd.read_csv(output, **DTYPES) if output is not None and output.is_file() else pd.DataFrame()
    for task in tasks:
        trial = Trial(task, data)
        for arm in arms(fusions, sources, inputs, seeds):
            key = {'task': task, 'inputs': arm.inputs, 'source': arm.source, 'arm': arm.name, 'seed': arm.seed}
            if len(rows) and (rows[KEYS] == pd.Series(key)[KEYS]).all(axis=1).any():
                continue
            rows = pd.concat([rows, pd.DataFrame({**key, **row} for row in measure(arm, trial, plan))])
            if output is not None:
                output.parent.mkdir(parents=True, exist_ok=True)
                rows.to_csv(output, index=False, float_format='%.5f')
    return summary(rows)


def arms(fusions: Sequence[str], sources: Sequence[str], inputs: str, seeds: int) -> Iterator[Arm]:
    """Yield the arms of a task: per seed the cascade, then per fusion the twin, and the fusion with masks."""
    for seed in range(seeds):
        yield Arm(inputs, 'none', 'none', False, seed)
        for fusion in fusions:
            yield Arm(inputs, 'none', fusion, True, seed)
            yield from (Arm(inputs, source, fusion, False, seed) for source in sources)


class Trial:
    """The photos of a task, restored, and their masks; made when they are first needed.

    Args:
        task: a key of ``TASKS``.
        data: as in :func:`run`.
    """

    def __init__(self, task: str, data: Path | None) -> None:
        self.task, self.data = task, data

    @cached_property
    def clean(self) -> Split:
        """Photos for training and testing, with the masks of the clean photos."""
        split = [degraded(self.task, photos) for photos in load(self.data)]
        student = train_student(self.task, split[0])
        return tuple(restored_by(student, photos) for photos in split)

    @cached_property
    def restored(self) -> Split:
        """The same photos, with masks extracted from y."""
        segmenter = build_restored_segmenter(self.data)
        return tuple(with_masks_of_restored(photos, segmenter) for photos in self.clean)


def measure(arm: Arm, trial: Trial, plan: Plan) -> Iterator[dict[str, object]]:
    """Train an arm and yield the gain of each test photo, per kind of masks in the test."""
    training, testing = trial.restored if arm.source == 'restored' else trial.clean
    spf = arm.spf()
    steps = train(spf, spf_loss(spf), training, plan, arm.seed)
    name = f'{trial.task}, {arm.name}, {arm.source} masks, seed {arm.seed}'
    for _ in tqdm(steps, name, plan.iterations, mininterval=0.5):
        pass
    for masks in MASKS if arm.source in SOURCES else ('own',):
        in_tiles, whole = (gains(spf, testing, masks, side) for side in (plan.patch, None))
        for photo, gain, of_whole in zip(testing, in_tiles, whole):
            yield {'masks': masks, 'photo': photo.name, 'gain': gain, 'whole': of_whole}


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line per task, fusion and source of masks.

    It holds z - y, and paired differences with intervals over seeds and over photos.
    """
    table = []
    for (task, inputs), mine in rows.groupby(['task', 'inputs'], sort=False):
        arms = mine.drop_duplicates(['source', 'arm'])
        gain = mine.pivot_table(index=['seed', 'photo'], columns=['source', 'arm', 'masks'], values='gain', sort=False)
        for source, fusion in arms.loc[arms['source'] != 'none', ['source', 'arm']].itertuples(index=False):
            if ('none', f'{fusion}, one region', 'own') not in gain:
                continue  # the run is at work, or was interrupted
            own = gain[source, fusion, 'own']
            line = {'task': task, 'inputs': inputs, 'fusion': fusion, 'masks': source, 'z - y': f'{own.mean():+.3f}'}
            controls = {
                'own - one-region twin': ('none', f'{fusion}, one region', 'own'),
                'own - cascade': ('none', 'none', 'own'),
                'own - shuffled': (source, fusion, 'shuffled'),
                'own - one region': (source, fusion, 'one_region'),
            }
            for name, control in controls.items():
                for over, interval in zip(('seeds', 'photos'), paired(own, gain[control])):
                    line[f'{name}, over {over}'] = interval.text(3, '+')
            table.append(line)
    return pd.DataFrame(table)
