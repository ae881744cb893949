"""One photo made ready for prompts."""

from __future__ import annotations

import numpy as np
import torch
from segment_anything.modeling import Sam
from torch import Tensor

from sapd_plugin.priors.segmenters.fast.decoder import Decoded, decode
from sapd_plugin.priors.segmenters.fast.encoder import Encoder
from sapd_plugin.priors.segmenters.fast.geometry import GRID_SIDE, Geometry
from sapd_plugin.priors.segmenters.fast.image_side import image_side
from sapd_plugin.priors.segmenters.fast.padding import pool_padding
from sapd_plugin.priors.segmenters.fast.upscale import Upscaler


class Prompter:
    """SAM with its weights made ready.

    Args:
        sam: in evaluation mode, on its device; its image encoder is changed in place.
        dtype: see `Encoder`.
        pool: let tokens of the padding share their work, see `pool_padding`; masks change a little.
    """

    def __init__(self, sam: Sam, dtype: str = 'float32', pool: bool = False) -> None:
        self.sam = sam
        self.encoder = Encoder(sam, dtype)
        self.upscaler = Upscaler(sam.mask_decoder)
        self.place = sam.prompt_encoder.get_dense_pe()[0].flatten(1).T
        self.pool = pool

    def look(self, image: np.ndarray) -> View:
        """Encode an RGB uint8 (H,W,3) photo."""
        return View(self, image)


class View:
    """One photo, encoded. Points are (x,y) in its pixels.

    Attributes:
        geometry: the sizes.
    """

    def __init__(self, prompter: Prompter, image: np.ndarray) -> None:
        self._prompter = prompter
        sam = prompter.sam
        self.geometry = Geometry(image.shape[0], image.shape[1], sam.device)
        tokens = prompter.encoder(image).flatten(1).T + sam.prompt_encoder.no_mask_embed.weight
        place, bias = prompter.place, None
        rows, columns = self.geometry.grid
        order = torch.arange(GRID_SIDE**2, device=sam.device).view(GRID_SIDE, GRID_SIDE)
        if prompter.pool:
            tokens, place, bias = pool_padding(tokens, place, self.geometry.grid)
        elif columns < GRID_SIDE:
            # The photo's tokens have to come first, and they do where the padding is below.
            order = torch.cat([order[:rows, :columns].reshape(-1), order[:rows, columns:].reshape(-1)])
            tokens, place = tokens[order], place[order]
        self._image = image_side(sam.mask_decoder, tokens, place, self.geometry.grid, bias)

    def decode(self, points: np.ndarray) -> Decoded:
        """Prompt with B points, (B,2) float64."""
        sam = self._prompter.sam
        scale = np.divide(self.geometry.input_size, self.geometry.size)[::-1]
        coordinates = torch.as_tensor(points * scale, device=sam.device)[:, None]
        labels = torch.ones(coordinates.shape[:2], dtype=torch.int, device=sam.device)
        prompts, _ = sam.prompt_encoder(points=(coordinates, labels), boxes=None, masks=None)
        return decode(sam.mask_decoder, self._image, prompts)

    def logits(self, decoded: Decoded, prompt: int) -> Tensor:
        """Compute the masks of one decoded prompt: (M,4*rows,4*columns) logits of the photo's part."""
        return self._prompter.upscaler(self._image, decoded, prompt)
