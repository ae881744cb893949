"""Turn decoded prompts into low-resolution mask logits, only for the prompts that are needed."""

from __future__ import annotations

import torch
from segment_anything.modeling import MaskDecoder
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.priors.segmenters.fast.decoder import Decoded
from sapd_plugin.priors.segmenters.fast.image_side import ImageSide, centre, upscaling_matrix

# Side of an image token, in mask logits.
FACTOR = 4
# Token rows at once on a CPU: the working set then fits into a core's L2 cache.
_ROWS = 8


class Upscaler:
    """Compute masks at four times the token grid, with weights that are reshaped once.

    The transposed convolutions do not overlap, so each position of the token grid is processed separately, as a row of
    channels.
    """

    def __init__(self, decoder: MaskDecoder) -> None:
        first, norm, _, second, _ = decoder.output_upscaling
        layers = decoder.transformer.layers
        self._matrix = upscaling_matrix(decoder)
        offset = centre(layers[0].norm4.bias + layers[1].cross_attn_image_to_token.out_proj.bias)
        self._offset = (offset * layers[1].norm4.weight) @ self._matrix
        self._scale = layers[1].norm4.weight
        self._constant = layers[1].norm4.bias @ self._matrix + first.bias.repeat(4)
        self._norm = norm
        self._second = second.weight.permute(0, 2, 3, 1).flatten(1).contiguous()
        self._second_bias = second.bias.repeat(4)

    def __call__(self, image: ImageSide, decoded: Decoded, prompt: int) -> Tensor:
        """Compute the masks of one of the B prompts: (M,4*rows,4*columns) logits on the image's part of the grid."""
        rows, columns = image.grid
        basis = (decoded.basis[prompt] * self._scale) @ self._matrix
        hyper = decoded.hyper[prompt]
        # (row, column) of the token, then of its two 2x2 patches: put in raster order at the end, in one step.
        nested = hyper.new_empty(len(hyper), rows * columns * FACTOR**2)
        step = _ROWS if hyper.device.type == 'cpu' else rows
        for top in range(0, rows, step):
            part = slice(top * columns, min(top + step, rows) * columns)
            mix = decoded.mix[:, :, :, prompt, part].flatten(0, 2).T
            x = torch.addcmul(self._offset, decoded.scale1[prompt, part, None], image.upscaled[part])
            x = x.addmm_(mix, basis).mul_(decoded.scale2[prompt, part, None]).add_(self._constant)
            x = x.view(len(x) * 4, -1)
            x = F.gelu(F.layer_norm(x, x.shape[-1:], self._norm.weight, self._norm.bias, self._norm.eps))
            x = F.gelu((x @ self._second).add_(self._second_bias)).view(len(x) * 4, -1)
            nested[:, FACTOR**2 * part.start : FACTOR**2 * part.stop] = hyper @ x.T
        nested = nested.view(len(hyper), rows, columns, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
        return nested.reshape(len(hyper), FACTOR * rows, FACTOR * columns)
