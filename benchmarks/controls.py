"""Controls of SPF's fusion: what a second network gains by masks, over its mask-free twin.

Three tasks on photos with noise that a small, unconverged student has restored:

region_noise  the positive control: a noise level drawn per region, so masks must matter
weak100       noise of sigma 100
weak50        noise of sigma 50

Masks are those of the clean photo (privileged). z is tested on tiles of the training's patch size, which is where a
teacher works; the CSV also holds complete photos. Every arm starts from the same weights of the second network and sees
the same patches in the same order. Without --data: the six photographs of scikit-image with felzenszwalb's regions,
which shows that the control works, not what masks are worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from benchmarks.fixtures import photographs
from sapd_plugin.archs.ffdnet import FFDNet
from sapd_plugin.core.spf import SPF
from sapd_plugin.errors import SAPDError, check_choice
from sapd_plugin.evaluation.mask_trial import MASKS, Photo, Plan, gains, log_mse, spf_loss, train
from sapd_plugin.evaluation.statistics import Interval
from sapd_plugin.priors.segmenters import build_segmenter

TASKS = {'region_noise': (5.0, 90.0), 'weak100': (100.0, 100.0), 'weak50': (50.0, 50.0)}  # sigma, 0-255 scale
STUDENT = Plan(iterations=1000, patch=96, batch=8, lr=2e-3)
SIZE = 320, 480
TRAIN, TEST = 180, 34


class Residual(nn.Module):
    """A residual block of two convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))

    def forward(self, features: Tensor) -> Tensor:
        """Map (N,width,h,w) to the same shape."""
        return features + self.second(F.relu(self.first(features)))


class Refiner(nn.Module):
    """A small second network: residual blocks at half size; its last convolution starts at zero, so z starts as y."""

    def __init__(self, width: int = 24, blocks: int = 4) -> None:
        super().__init__()
        self.head = nn.Conv2d(12, width, 3, padding=1)
        self.blocks = nn.Sequential(*(Residual(width) for _ in range(blocks)))
        self.tail = nn.Conv2d(width, 12, 3, padding=1)
        nn.init.zeros_(self.tail.weight)
        nn.init.zeros_(self.tail.bias)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        """Refine (N,3,H,W), H and W even."""
        features = self.blocks(self.head(F.pixel_unshuffle(image - 0.5, 2)))
        return image + F.pixel_shuffle(self.tail(features), 2)


def run(
    data: Path | None = None,
    tasks: Sequence[str] = tuple(TASKS),
    fusions: Sequence[str] = ('modulate',),
    seeds: int = 3,
    iterations: int = 700,
    patch: int = 128,
    output: Path | None = None,
) -> pd.DataFrame:
    """Train and test every arm, and return a line per task and fusion.

    Args:
        data: folder with ``train_photos``, ``cbsd68`` and ``masks/{train_photos,cbsd68}/NAME.png`` (label maps).
        tasks: keys of ``TASKS``.
        fusions: of SPF; 'a+b' stands for both.
        seeds: number of second networks per arm.
        iterations: steps of a second network's training.
        patch: side of its patches in pixels.
        output: CSV of all gains, a line per photo; rows are added after each arm.

    Raises:
        SAPDError: an unknown task, or a folder is missing.
    """
    for task in tasks:
        check_choice('--tasks', task, TASKS)
    plan = Plan(iterations=iterations, patch=patch)
    rows: list[dict[str, object]] = []
    for task in tasks:
        training, testing = (_restored(task, photos) for photos in _load(data))
        student = _student(task, training)
        training, testing = (_with_restored(student, photos) for photos in (training, testing))
        for seed in range(seeds):
            for fusion, one_region in [('none', False), *((f, one) for f in fusions for one in (False, True))]:
                arm = f'{fusion}, one region' if one_region else fusion
                spf = _spf(fusion, one_region, seed)
                steps = train(spf, spf_loss(spf), training, plan, seed)
                for _ in tqdm(steps, f'{task}, {arm}, seed {seed}', plan.iterations, mininterval=0.5):
                    pass
                for masks in ('own',) if one_region or fusion == 'none' else MASKS:
                    in_tiles, whole = (gains(spf, testing, masks, side) for side in (patch, None))
                    rows += [
                        {'task': task, 'arm': arm, 'masks': masks, 'seed': seed, 'photo': p.name, 'gain': g, 'whole': w}
                        for p, g, w in zip(testing, in_tiles, whole)
                    ]
                if output is not None:
                    output.parent.mkdir(parents=True, exist_ok=True)
                    pd.DataFrame(rows).to_csv(output, index=False, float_format='%.5f')
    return summary(pd.DataFrame(rows))


def summary(rows: pd.DataFrame) -> pd.DataFrame:
    """Return a line per task and fusion: z - y, and paired differences with intervals over seeds and over photos."""
    table = []
    for task, mine in rows.groupby('task', sort=False):
        gain = mine.pivot_table(index=['seed', 'photo'], columns=['arm', 'masks'], values='gain', sort=False)
        for fusion in [a for a in mine['arm'].unique() if f'{a}, one region' in set(mine['arm'])]:
            own = gain[(fusion, 'own')]
            line = {'task': task, 'fusion': fusion, 'z - y': f'{own.mean():+.3f}'}
            controls = {
                'own - one-region twin': (f'{fusion}, one region', 'own'),
                'own - cascade': ('none', 'own'),
                'own - shuffled': (fusion, 'shuffled'),
                'own - one region': (fusion, 'one_region'),
            }
            for name, control in controls.items():
                difference = own - gain[control]
                for over in ('seed', 'photo'):
                    values = difference.groupby(level=over).mean().tolist()
                    line[f'{name}, over {over}s'] = Interval.of(values).text(3, '+')
            table.append(line)
    return pd.DataFrame(table)


def _spf(fusion: str, one_region: bool, seed: int) -> SPF:
    """Build SPF around a second network whose weights depend on the seed alone."""
    torch.manual_seed(seed)
    kinds = fusion.split('+')
    return SPF(
        Refiner(),
        fusion=kinds[0] if len(kinds) == 1 else kinds,
        inputs=['restored', 'degraded'],
        one_region=one_region,
    )


def _load(data: Path | None) -> tuple[list[Photo], list[Photo]]:
    """Return photos for training and testing, without degraded and restored images yet."""
    if data is None:
        segmenter = build_segmenter('felzenszwalb')
        photos = [_photo(name, image, segmenter(image).labels) for name, image in photographs(SIZE).items()]
        return photos[:4], photos[4:]
    splits = []
    for folder, count in (('train_photos', TRAIN), ('cbsd68', TEST)):
        files = sorted(file for file in (data / folder).glob('*') if file.suffix in ('.png', '.jpg'))
        if not files:
            raise SAPDError(f'--data: found no photos in {data / folder}, expected PNG or JPEG files.')
        chosen = np.random.default_rng(0).permutation(len(files))[:count]
        photos = []
        for file in (files[i] for i in sorted(chosen)):
            mask = cv2.imread(str(data / 'masks' / folder / f'{file.stem}.png'), cv2.IMREAD_UNCHANGED)
            if mask is None:
                raise SAPDError(f'--data: found no label map {file.stem}.png in {data / "masks" / folder}.')
            photos.append(_photo(file.stem, cv2.imread(str(file))[..., ::-1], mask))
        splits.append(photos)
    return splits[0], splits[1]


def _photo(name: str, image: np.ndarray, labels: np.ndarray) -> Photo:
    """Make a photo of ``SIZE``, landscape."""
    if image.shape[0] > image.shape[1]:
        image, labels = image.transpose(1, 0, 2), labels.T
    gt = torch.from_numpy(np.ascontiguousarray(image[: SIZE[0], : SIZE[1]].transpose(2, 0, 1))).half() / 255
    mask = torch.from_numpy(np.ascontiguousarray(labels[: SIZE[0], : SIZE[1]].astype(np.int32)))[None]
    return Photo(name, gt, gt, gt, mask)


def _restored(task: str, photos: Sequence[Photo]) -> list[Photo]:
    """Add noise, whose level is drawn per region; a single level is a range of one."""
    noisy = []
    for index, photo in enumerate(photos):
        random = np.random.default_rng([index, len(photos)])
        levels = random.uniform(*TASKS[task], int(photo.labels.max()) + 1).astype(np.float32) / 255
        noise = random.standard_normal(photo.gt.shape).astype(np.float32) * levels[photo.labels.numpy()]
        degraded = photo.gt.float() + torch.from_numpy(noise)
        noisy.append(Photo(photo.name, photo.gt, degraded.half(), photo.gt, photo.labels))
    return noisy


def _student(task: str, photos: Sequence[Photo]) -> nn.Module:
    """Train the small student that makes y; it is not told the noise level of a region."""
    torch.manual_seed(0)
    student = FFDNet(3, 3, 32, 5, sigma=float(np.mean(TASKS[task])))

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        return log_mse(student(batch[1]), batch[0])

    for _ in tqdm(train(student, loss, photos, STUDENT, 0), f'{task}, student', STUDENT.iterations, mininterval=0.5):
        pass
    return student


@torch.no_grad()
def _with_restored(student: nn.Module, photos: Sequence[Photo]) -> list[Photo]:
    """Restore every photo with the student."""
    restored = (student(photo.degraded.float()[None])[0].half() for photo in photos)
    return [Photo(p.name, p.gt, p.degraded, y, p.labels) for p, y in zip(photos, restored)]
