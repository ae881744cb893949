"""The arms of a trial of masks: SPF trained on a frozen student's images, with each kind of masks and without."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from sapd_plugin.core.spf import SPF
from sapd_plugin.evaluation.mask_trial import Photo, Plan, gains, spf_loss, train
from sapd_plugin.evaluation.mask_verdict import CASCADE, TWIN
from sapd_plugin.evaluation.refiner import Refiner


class Photos(NamedTuple):
    """Photos with one kind of masks.

    Attributes:
        training: to train on.
        testing: to test on, with masks of the same kind.
        others: the photos of the test with another photo's masks; empty if ``testing`` has such masks already.
    """

    training: Sequence[Photo]
    testing: Sequence[Photo]
    others: Sequence[Photo]


@dataclass(frozen=True)
class MaskArms:
    """The arms of a trial, one after another.

    Args:
        photos: by kind of masks; all kinds have the same images in the same order.
        plan: length and size of each training.
        fusion: of SPF.
        inputs: what SPF sees: 'restored', and 'degraded' beside it.
        seeds: number of second networks per arm.
        device: where they are trained.
    """

    photos: Mapping[str, Photos]
    plan: Plan
    fusion: str
    inputs: Sequence[str]
    seeds: int
    device: str = 'cpu'

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """Yield the names of the arms and their seeds, so that an early stop leaves whole seeds."""
        yield from ((arm, seed) for seed in range(self.seeds) for arm in (CASCADE, TWIN, *self.photos))

    def build(self, arm: str, seed: int) -> SPF:
        """Build SPF. Its second network starts from weights that depend on the seed alone."""
        torch.manual_seed(seed)
        fusion = 'none' if arm == CASCADE else self.fusion
        return SPF(Refiner(), fusion=fusion, inputs=list(self.inputs), one_region=arm == TWIN)

    def tests(self, arm: str) -> dict[str, tuple[Sequence[Photo], str]]:
        """Return the photos of each test of an arm, and what `gains` does with their masks."""
        photos = self.photos.get(arm) or next(iter(self.photos.values()))
        tests = {'own': (photos.testing, 'own')}
        if arm in self.photos:
            tests |= {'shuffled': (photos.others, 'own')} if photos.others else {}
            tests |= {'one_region': (photos.testing, 'one_region')}
        return tests

    def steps(self, arm: str) -> int:
        """Return how many steps `measure` reports: those of the training, and one per photo of each test."""
        return self.plan.iterations + sum(len(photos) for photos, _ in self.tests(arm).values())

    def measure(self, arm: str, seed: int, advance: Callable[[int], object]) -> Iterator[dict[str, object]]:
        """Train an arm and yield z - y of each test photo in dB: in tiles of the patch's side, and whole.

        Args:
            arm: `CASCADE`, `TWIN` or a kind of masks.
            seed: of the second network and of the patches.
            advance: is called with the number of steps that have ended since the last call.
        """
        photos = self.photos.get(arm) or next(iter(self.photos.values()))
        spf = nn.Module.to(self.build(arm, seed), self.device)
        for _ in train(spf, spf_loss(spf), photos.training, self.plan, seed):
            advance(1)
        for masks, (tested, chosen) in self.tests(arm).items():
            in_tiles, whole = (gains(spf, tested, chosen, side) for side in (self.plan.patch, None))
            advance(len(tested))
            for photo, gain, of_whole in zip(tested, in_tiles, whole):
                values = {'gain': round(float(gain), 5), 'whole': round(float(of_whole), 5)}
                yield {'arm': arm, 'seed': seed, 'masks': masks, 'photo': photo.name, **values}
