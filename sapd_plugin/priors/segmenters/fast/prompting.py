"""Encode a photo once and prompt it with points."""

from __future__ import annotations

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.priors.segmenters.fast.decoder import Decoded, decode
from sapd_plugin.priors.segmenters.fast.encoder import Encoder
from sapd_plugin.priors.segmenters.fast.geometry import GRID_SIDE, Geometry
from sapd_plugin.priors.segmenters.fast.image_side import ImageSide
from sapd_plugin.priors.segmenters.fast.upscale import Upscaler

# Side, in tokens, of a block of padding that one pooled token replaces.
POOL = 4


class Prompter:
    """SAM with prepared weights, for any number of photos.

    Args:
        sam: in evaluation mode, on its device; its image encoder is changed in place.
        dtype: see `Encoder`.
        pool: average tokens of the padding, see `pool_padding`; masks change slightly.
    """

    def __init__(self, sam: Sam, dtype: str = 'float32', pool: bool = False) -> None:
        self.sam = sam
        self.encoder = Encoder(sam, dtype)
        self.upscaler = Upscaler(sam.mask_decoder)
        self.positions = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T
        self.pool = pool

    def encode(self, image: np.ndarray) -> EncodedPhoto:
        """Encode an RGB uint8 (H,W,3) photo."""
        return EncodedPhoto(self, image)


class EncodedPhoto:
    """One encoded photo. Points are (x,y) in its pixels."""

    def __init__(self, prompter: Prompter, image: np.ndarray) -> None:
        self._prompter = prompter
        sam = prompter.sam
        self.geometry = Geometry(image.shape[0], image.shape[1], sam.device)
        tokens = prompter.encoder(image).flatten(1).T + sam.prompt_encoder.no_mask_embed.weight
        positions, bias = prompter.positions, None
        rows, columns = self.geometry.grid
        order = torch.arange(GRID_SIDE**2, device=sam.device).view(GRID_SIDE, GRID_SIDE)
        if prompter.pool:
            tokens, positions, bias = pool_padding(tokens, positions, self.geometry.grid)
        elif columns < GRID_SIDE:
            # The photo's tokens have to come first, which they do if the padding is below.
            order = torch.cat([order[:rows, :columns].reshape(-1), order[:rows, columns:].reshape(-1)])
            tokens, positions = tokens[order], positions[order]
        self._image = ImageSide(sam.mask_decoder, tokens, positions, self.geometry.grid, bias)

    def decode(self, points: np.ndarray) -> Decoded:
        """Decode prompts of B points, (B,2) float64."""
        sam = self._prompter.sam
        scale = np.divide(self.geometry.input_size, self.geometry.size)[::-1]
        coordinates = torch.as_tensor(points * scale, device=sam.device)[:, None]
        labels = torch.ones(coordinates.shape[:2], dtype=torch.int, device=sam.device)
        prompts, _ = sam.prompt_encoder(points=(coordinates, labels), boxes=None, masks=None)
        return decode(sam.mask_decoder, self._image, prompts)

    def passing(self, decoded: Decoded, passed: Tensor, prompts: list[int]) -> tuple[Tensor, Tensor]:
        """Compute the masks of some prompts, and keep those that pass a filter.

        Args:
            decoded: B prompts with M masks each.
            passed: (B,M) bool, on the CPU, so that the device is not waited for once per prompt.
            prompts: numbers of the prompts to compute.

        Returns:
            (K,4*rows,4*columns) logits of the photo's part and (K,) predicted IoU, by prompt, then by mask.
        """
        device = decoded.iou.device
        at = passed[prompts].flatten().nonzero()[:, 0].to(device, non_blocking=True)
        logits = [self._prompter.upscaler(self._image, decoded, prompt) for prompt in prompts]
        together = torch.cat([decoded.iou.new_empty(0, *self.geometry.logits_size), *logits])
        iou = torch.cat([decoded.iou[:0], *(decoded.iou[prompt : prompt + 1] for prompt in prompts)])
        return together[at], iou.flatten()[at]


def pool_padding(tokens: Tensor, positions: Tensor, grid: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """Average the padding's tokens and their positions in blocks of 4x4, smaller at the edges.

    Dropping them would degrade masks: SAM was trained with them. A pooled token's attention score is raised by the
    logarithm of the number of tokens it replaces, so that it gets as much attention as they did.

    Args:
        tokens: (4096,C), raster order.
        positions: (4096,C) positional encoding of the tokens.
        grid: (rows, columns) of the photo's tokens, in the upper left corner.

    Returns:
        (N,C) tokens with the photo's first, (N,C) positions, (N,) bias of the scores.
    """
    rows, columns = grid
    both = torch.cat([tokens, positions], dim=1).T.reshape(1, -1, GRID_SIDE, GRID_SIDE)
    parts = [both[..., :rows, :columns].flatten(2)]
    counts = [tokens.new_zeros(rows * columns)]
    for padding in (both[..., :rows, columns:], both[..., rows:, :]):
        if padding.numel():
            parts.append(F.avg_pool2d(padding, POOL, ceil_mode=True, count_include_pad=False).flatten(2))
            whole_blocks = 0, -padding.shape[-1] % POOL, 0, -padding.shape[-2] % POOL
            ones = F.pad(torch.ones_like(padding[:, :1]), whole_blocks)
            counts.append((F.avg_pool2d(ones, POOL) * POOL**2).flatten().log())
    joined = torch.cat(parts, dim=2)[0].T
    width = tokens.shape[1]
    return joined[:, :width].contiguous(), joined[:, width:].contiguous(), torch.cat(counts)
