r"""Measure a ceiling for SPD: how much a student learns from a much better teacher, which needs no masks.

D=datasets/MiniNoise; python -m studies.sam_priors.ceiling --photos $D/train/target --validation $D/val/target \
    --teacher ffdnet_color.pth --start STUDENT.pth

The student, a NAFNet of width 8, starts like all students of mini_denoise and learns to remove Gaussian noise of sigma
25. Its loss is L1 to the clean image plus a weight times SPD's L1 to the output of a published network ten times its
size. Weight 0 is stock; 'alone' leaves out the first term. All weights use the same patches and noise. Unlike any SPF,
this teacher is far ahead of the student from the first step to the last: what SPD cannot transfer from it, SPD cannot
transfer from SPF. Each row of the CSV is one run; runs that it holds are skipped.
Exit status: 0 done, 2 a mistake, 130 interrupted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from copy import deepcopy
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from sapd_plugin.archs import FFDNet, NAFNet
from sapd_plugin.cli.common import exit_status
from sapd_plugin.core.spd import spd_loss
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.networks import load_student
from sapd_plugin.experiments.results import made_with, read_csv
from sapd_plugin.files import write_atomically
from sapd_plugin.priors.extraction.images import list_images, read_image

SIGMA, PATCH, BATCH, RATE, WARMUP, DECAY = 25 / 255, 48, 4, 2e-3, 30, 0.99
WEIGHTS = ('0', '0.1', '1', '10', 'alone')
KEYS = ['weight', 'seed', 'iterations']
COLUMNS = ['weight', 'seed', 'psnr', 'psnr_teacher', 'iterations', 'images', 'command', 'commit']
RESULTS = Path(__file__).parent / 'results/ceiling.csv'


def read_photos(folder: Path) -> list[np.ndarray]:
    """Read all photos, (H,W,3) uint8.

    Raises:
        SAPDError: there are no photos, or one is smaller than a patch.
    """
    photos = [read_image(path) for path in list_images(folder)[0]]
    if any(min(photo.shape[:2]) < PATCH for photo in photos):
        raise SAPDError(f'{folder}: found a photo smaller than {PATCH} pixels.')
    return photos


def patches(photos: Sequence[np.ndarray], seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield endless batches of noisy and clean patches, (N,3,P,P) in [0, 1]; the noise is not clipped."""
    random, noise = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    while True:
        cut = []
        for photo in (photos[i] for i in random.integers(0, len(photos), BATCH)):
            top, left = (random.integers(0, side - PATCH + 1) for side in photo.shape[:2])
            patch = np.rot90(photo[top : top + PATCH, left : left + PATCH], random.integers(4))
            cut.append(patch[::-1] if random.integers(2) else patch)
        clean = as_tensor(np.stack(cut))
        yield clean + SIGMA * torch.randn(clean.shape, generator=noise), clean


def as_tensor(photos: np.ndarray) -> Tensor:
    """Convert (N,H,W,3) uint8 to (N,3,H,W) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(photos.transpose(0, 3, 1, 2))).float() / 255


def train(
    start: nn.Module, photos: Sequence[np.ndarray], teacher: nn.Module, weight: str, seed: int, iterations: int
) -> nn.Module:
    """Train a copy of a student and return its moving average."""
    student, average = deepcopy(start), deepcopy(start)
    optimizer = torch.optim.AdamW(student.parameters(), lr=RATE, weight_decay=1e-4, betas=(0.9, 0.99))
    batches = patches(photos, seed)
    for step in tqdm(range(1, iterations + 1), desc=f'weight {weight}, seed {seed}'):
        cosine = 0.5 * (1 + math.cos(math.pi * (step - 1) / iterations))
        optimizer.param_groups[0]['lr'] = RATE * cosine * min(1, step / WARMUP)
        noisy, clean = next(batches)
        restored = student(noisy)
        loss = (restored - clean).abs().mean() * (weight != 'alone')
        if weight != '0':
            with torch.no_grad():
                refined = teacher(noisy)
            loss = loss + (1.0 if weight == 'alone' else float(weight)) * spd_loss(restored, refined, clean)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 0.01)
        optimizer.step()
        with torch.no_grad():
            for mean, now in zip(average.parameters(), student.parameters()):
                mean.lerp_(now, 1 - min(DECAY, step / (step + 10)))
    return average.eval()


@torch.no_grad()
def psnr(network: nn.Module, photos: Sequence[np.ndarray]) -> float:
    """Return the mean PSNR in dB over whole photos, RGB, 8 bits; each photo's noise has its own seed."""
    values = []
    for number, photo in enumerate(photos):
        clean = as_tensor(photo[None])
        noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(number))
        restored = (network(clean + SIGMA * noise).clamp(0, 1) * 255).round() / 255
        values.append(-10 * (restored - clean).square().mean().log10().item())
    return fmean(values)


def run(options: argparse.Namespace) -> None:
    """Run the weights and seeds that the CSV does not hold yet."""
    for weight in options.weights:
        if weight not in WEIGHTS and not weight.replace('.', '', 1).isdigit():
            raise SAPDError(f"--weights: found '{weight}', expected numbers, or 'alone'.")
    rows = pd.DataFrame(columns=COLUMNS)
    if options.output.is_file():
        rows = read_csv(options.output, KEYS, [], texts=COLUMNS)
    student = NAFNet(width=8, enc_blk_nums=[1, 1, 2], middle_blk_num=1, dec_blk_nums=[1, 1, 1])
    start = load_student(student, options.start)
    teacher = load_student(FFDNet(3, 3, 96, 12, sigma=255 * SIGMA), options.teacher).eval()
    photos, validation = read_photos(options.photos), read_photos(options.validation)
    ahead = psnr(teacher, validation)
    command = f'python -m studies.sam_priors.ceiling --iterations {options.iterations}'
    for seed in options.seeds:
        for weight in options.weights:
            if (rows[KEYS] == [weight, str(seed), str(options.iterations)]).all(axis=1).any():
                continue
            reached = psnr(train(start, photos, teacher, weight, seed, options.iterations), validation)
            values = (weight, seed, reached, ahead, options.iterations, len(validation), command)
            rows.loc[len(rows)] = [*map(str, values), made_with().get('commit', 'unknown')]
            options.output.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(options.output, rows.to_csv(index=False, lineterminator='\n'))
            print(f'weight {weight}, seed {seed}: {reached:.4f} dB; teacher {ahead:.4f} dB', flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument('--photos', type=Path, required=True, help='clean photos to train on')
    parser.add_argument('--validation', type=Path, required=True, help='clean photos to measure on')
    parser.add_argument('--teacher', type=Path, required=True, help="FFDNet's published colour checkpoint")
    parser.add_argument('--start', type=Path, required=True, help="the study's pre-trained denoiser")
    parser.add_argument('--output', type=Path, default=RESULTS, help='(default: %(default)s)')
    parser.add_argument('--weights', nargs='+', default=WEIGHTS, help='(default: %(default)s)')
    parser.add_argument('--seeds', nargs='+', type=int, default=(0, 1, 2), help='(default: %(default)s)')
    parser.add_argument('--iterations', type=int, default=1000, help='(default: %(default)s)')
    options = parser.parse_args(arguments)
    return exit_status(lambda: run(options))


if __name__ == '__main__':
    sys.exit(main())
