"""Convert SAM's low-resolution logits to the photo's pixels, as the stock post-processing does."""

from __future__ import annotations

from functools import lru_cache

import torch
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor
from torch.nn import functional as F

INPUT_SIDE = 1024
# Side of an image token, in pixels of the encoder's input.
TOKEN_SIDE = 16
GRID_SIDE = INPUT_SIDE // TOKEN_SIDE
_LOGITS_PER_TOKEN = 4
# Output pixels per band: each depends on three logits along an axis, so a band needs a small part of the matrix.
_BAND = 64


class Geometry:
    """Sizes of one photo within SAM's square input, and the conversion back.

    Attributes:
        size: (H,W) of the photo.
        input_size: (h,w) of the photo within the encoder's input, the longer one 1024.
        grid: (rows, columns) of the tokens that the photo's masks depend on.
        logits_size: (h,w) of low-resolution masks on these tokens.
    """

    def __init__(self, height: int, width: int, device: str | torch.device = 'cpu') -> None:
        self.size = height, width
        self.input_size = ResizeLongestSide.get_preprocess_shape(height, width, INPUT_SIDE)
        self.grid = _tokens(self.input_size[0]), _tokens(self.input_size[1])
        self.logits_size = _LOGITS_PER_TOKEN * self.grid[0], _LOGITS_PER_TOKEN * self.grid[1]
        self._rows, self._columns = (
            _bands(tokens, inside, side, torch.device(device))
            for tokens, inside, side in zip(self.grid, self.input_size, self.size)
        )

    def inside(self, logits: Tensor) -> Tensor:
        """Crop the padding: (M,4*rows,4*columns) -> (M,h,w), h and w a quarter of the input's, rounded up."""
        height, width = (-(-side * _LOGITS_PER_TOKEN // TOKEN_SIDE) for side in self.input_size)
        return logits[:, :height, :width]

    def enlarge(self, logits: Tensor) -> Tensor:
        """Interpolate (M, 4*rows, 4*columns) to (M,H,W): bilinearly to the input's size and then to the photo's.

        Bilinear interpolation is separable and linear, so both steps are one banded matrix per axis.
        """
        wide = logits.new_empty(*logits.shape[:2], self.size[1])
        for output, taken, matrix in self._columns:
            wide[:, :, output] = logits[:, :, taken] @ matrix
        full = logits.new_empty(len(logits), *self.size)
        for output, taken, matrix in self._rows:
            full[:, output] = torch.matmul(matrix.T, wide[:, taken])
        return full


def _tokens(inside: int) -> int:
    """Return the number of tokens that ``inside`` pixels of an axis depend on: bilinear taps reach past the last."""
    last = (inside - 1 + 0.5) * _LOGITS_PER_TOKEN / TOKEN_SIDE - 0.5
    return min(GRID_SIDE, (int(last) + 1) // _LOGITS_PER_TOKEN + 1)


@lru_cache(maxsize=256)
def _bands(tokens: int, inside: int, side: int, device: torch.device) -> tuple[tuple[slice, slice, Tensor], ...]:
    """Split the matrix (logits, pixels) of an axis into bands: (pixels, logits they depend on, their matrix).

    The matrices depend on the size alone. They are computed on the CPU, because their limits are read there, and kept
    (80 kB for an axis of 1280 pixels): photos of one size share them.
    """
    count = tokens * _LOGITS_PER_TOKEN
    scale = TOKEN_SIDE // _LOGITS_PER_TOKEN
    unit = torch.eye(count)[None]
    matrix = F.interpolate(unit, count * scale, mode='linear')[..., :inside]
    matrix = F.interpolate(matrix, side, mode='linear')[0]
    bands = []
    for first in range(0, side, _BAND):
        output = slice(first, min(first + _BAND, side))
        used = matrix[:, output].any(1).nonzero()
        taken = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((output, taken, matrix[taken, output].contiguous().to(device)))
    return tuple(bands)
