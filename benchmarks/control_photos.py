"""The photos of the controls' tasks: degraded, restored by a small student, with masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.fixtures import photographs
from sapd_plugin.archs.ffdnet import FFDNet
from sapd_plugin.datasets.synthetic.rain import PRESETS, Rain
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.mask_trial import Photo, Plan, log_mse, train
from sapd_plugin.priors.segmenters import Segmenter, build_segmenter

# Lowest and highest sigma of the noise, 0-255 scale, drawn per region; None means rain.
TASKS = {'region_noise': (5.0, 90.0), 'weak100': (100.0, 100.0), 'weak50': (50.0, 50.0), 'rain': None}
STUDENT = Plan(iterations=1000, patch=96, batch=8, lr=2e-3)
SIZE = 320, 480
TRAIN, TEST = 180, 34
Split = tuple[list[Photo], ...]  # for training, for testing


def load(data: Path | None) -> Split:
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
    return tuple(splits)


def _photo(name: str, image: np.ndarray, labels: np.ndarray) -> Photo:
    """Make a photo of ``SIZE``, landscape."""
    if image.shape[0] > image.shape[1]:
        image, labels = image.transpose(1, 0, 2), labels.T
    gt = torch.from_numpy(np.ascontiguousarray(image[: SIZE[0], : SIZE[1]].transpose(2, 0, 1))).half() / 255
    mask = torch.from_numpy(np.ascontiguousarray(labels[: SIZE[0], : SIZE[1]].astype(np.int32)))[None]
    return Photo(name, gt, gt, gt, mask)


def degraded(task: str, photos: Sequence[Photo]) -> list[Photo]:
    """Return the photos with the task's degradation as x."""
    return [_degraded(task, photo, np.random.default_rng([i, len(photos)])) for i, photo in enumerate(photos)]


def _degraded(task: str, photo: Photo, random: np.random.Generator) -> Photo:
    sigma = TASKS[task]
    if sigma is None:
        rain = Rain(PRESETS['heavy'])
        image = (photo.gt.float() * 255).round().byte().permute(1, 2, 0).numpy()
        rainy = torch.from_numpy(rain.render(image, rain.draw(random), random)).permute(2, 0, 1)
        return replace(photo, degraded=rainy.half() / 255)
    levels = random.uniform(*sigma, int(photo.labels.max()) + 1).astype(np.float32) / 255
    noise = random.standard_normal(photo.gt.shape).astype(np.float32) * levels[photo.labels.numpy()]
    return replace(photo, degraded=(photo.gt.float() + torch.from_numpy(noise)).half())


def train_student(task: str, photos: Sequence[Photo]) -> nn.Module:
    """Train the small student that makes y; it is not told the noise level of a region."""
    torch.manual_seed(0)
    sigma = TASKS[task]
    student = FFDNet(3, 3, 32, 5, sigma=0.0 if sigma is None else float(np.mean(sigma)))

    def loss(batch: tuple[Tensor, ...]) -> Tensor:
        return log_mse(student(batch[1]), batch[0])

    for _ in tqdm(train(student, loss, photos, STUDENT, 0), f'{task}, student', STUDENT.iterations, mininterval=0.5):
        pass
    return student


@torch.no_grad()
def restored_by(student: nn.Module, photos: Sequence[Photo]) -> list[Photo]:
    """Restore every photo with the student."""
    return [replace(photo, restored=student(photo.degraded.float()[None])[0].half()) for photo in photos]


def build_restored_segmenter(data: Path | None) -> Segmenter:
    """Return the segmenter that cuts masks on y: MobileSAM with the preset 'fast', or felzenszwalb without data."""
    if data is None:
        return build_segmenter('felzenszwalb')
    return build_segmenter('mobile_sam', checkpoint=data / 'sam/mobile_sam.pt')


def with_masks_of_restored(photos: Sequence[Photo], segmenter: Segmenter) -> list[Photo]:
    """Return the photos with masks that are extracted from y, in 8 bits."""
    found = []
    for photo in tqdm(photos, 'masks of y', mininterval=0.5):
        image = (photo.restored.float().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).contiguous().numpy()
        labels = segmenter(image).labels.astype(np.int32)
        found.append(replace(photo, labels=torch.from_numpy(labels)[None]))
    return found
