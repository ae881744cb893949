"""Published networks and their tests, written once more from the papers: nothing here is the plugin's or a framework's."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity
from torch.nn import functional as F

State = dict[str, torch.Tensor]


def prenet(state: State, rainy: torch.Tensor) -> torch.Tensor:
    """Six stages with a convolutional LSTM and five residual blocks."""
    restored, hidden, cell = rainy, *torch.zeros(2, 1, 32, *rainy.shape[-2:])

    def layer(name, x):
        return F.conv2d(x, state[f'{name}.weight'], state[f'{name}.bias'], padding=1)

    for _ in range(6):
        x = F.relu(layer('conv0.0', torch.cat([rainy, restored], 1)))
        x = torch.cat([x, hidden], 1)
        gates = [torch.sigmoid(layer(f'conv_{name}.0', x)) for name in 'ifo']
        cell = gates[1] * cell + gates[0] * torch.tanh(layer('conv_g.0', x))
        x = hidden = gates[2] * torch.tanh(cell)
        for block in range(1, 6):
            x = F.relu(x + F.relu(layer(f'res_conv{block}.2', F.relu(layer(f'res_conv{block}.0', x)))))
        restored = rainy + layer('conv.0', x)
    return restored


def _stack(state: State, x: torch.Tensor) -> torch.Tensor:
    """Convolutions, a ReLU between any two."""
    names = sorted({key.rsplit('.', 1)[0] for key in state}, key=lambda name: int(name.split('.')[-1]))
    for index, name in enumerate(names):
        x = F.conv2d(F.relu(x) if index else x, state[f'{name}.weight'], state[f'{name}.bias'], padding=1)
    return x


def dncnn(state: State, noisy: torch.Tensor) -> torch.Tensor:
    return noisy - _stack(state, noisy)


def ffdnet(state: State, noisy: torch.Tensor) -> torch.Tensor:
    """At half size, each pixel's 2x2 neighbours as channels, the noise level 25 as one more; odd sides repeat the last."""
    height, width = noisy.shape[-2:]
    x = F.pad(noisy, (0, width % 2, 0, height % 2), mode='replicate')
    x = F.pixel_unshuffle(x, 2)
    x = torch.cat([x, torch.full_like(x[:, :1], 25 / 255)], 1)
    return F.pixel_shuffle(_stack(state, x), 2)[..., :height, :width]


def restored(network: Callable, state: State, degraded: np.ndarray) -> np.ndarray:
    """Run a network on one image (H,W,C) in [0, 1]; returns the same shape, clamped, times 255, float32."""
    with torch.no_grad():
        image = network(state, torch.from_numpy(np.float32(degraded)).permute(2, 0, 1)[None])
    return 255 * image[0].clamp(0, 1).permute(1, 2, 0).numpy()


def noisy(clean: np.ndarray) -> np.ndarray:
    """Add sigma 25 of ``np.random.seed(0)`` to 8-bit values (H,W,C); returns them divided by 255."""
    np.random.seed(0)
    return clean / 255 + np.random.normal(0, 25 / 255, clean.shape)


def read(path: Path) -> np.ndarray:
    return cv2.imread(str(path))[..., ::-1].astype(np.float64)


def grey(rgb: np.ndarray) -> np.ndarray:
    return np.round(0.2989 * rgb[..., :1] + 0.5870 * rgb[..., 1:2] + 0.1140 * rgb[..., 2:])


def luma(rgb: np.ndarray) -> np.ndarray:
    return 16 + (65.481 * rgb[..., :1] + 128.553 * rgb[..., 1:2] + 24.966 * rgb[..., 2:]) / 255


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 20 * np.log10(255 / np.sqrt(np.mean((a - b) ** 2)))


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Of images (H,W,1), as Wang et al. define it: a Gaussian window of 11 pixels, where it lies inside the image."""
    similarity = structural_similarity(
        a[..., 0], b[..., 0], data_range=255, gaussian_weights=True, use_sample_covariance=False, full=True
    )[1]
    return float(similarity[5:-5, 5:-5].mean())
