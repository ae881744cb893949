"""The part of SAM's mask decoder that depends only on the image, computed once for all of its prompts.

Notation, as in `decoder`. The image tokens enter as rows x[n] (embedding + "no mask"), with positional encoding p[n].
Every layer of the two-way transformer ends with a LayerNorm of the image tokens; its input is an affine function of
shared rows and of a few prompt-dependent vectors, so each later projection splits into a shared part (here) and a small
prompt-dependent one (there).
"""

from __future__ import annotations

from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.transformer import Attention
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.errors import SAPDError

# Layers of the two-way transformer in every SAM variant; the sharing is derived for this depth.
DEPTH = 2


class ImageSide:
    """Shared projections of N image tokens: heads x tokens x width of a head, (H,N,D), unless stated otherwise.

    Args:
        decoder: SAM's mask decoder.
        tokens: (N,C) image embedding plus the "no mask" embedding.
        positions: (N,C) positional encoding of the tokens.
        grid: (rows, columns) of the tokens inside the image; they come first, in raster order.
        bias: (N,) added to the attention scores of tokens that stand for several, or None.

    Raises:
        SAPDError: the decoder has a different depth.
    """

    def __init__(
        self,
        decoder: MaskDecoder,
        tokens: Tensor,
        positions: Tensor,
        grid: tuple[int, int],
        bias: Tensor | None = None,
    ) -> None:
        transformer = decoder.transformer
        if transformer.depth != DEPTH:
            raise SAPDError(f'mask decoder: found a transformer of {transformer.depth} layers, expected {DEPTH}.')
        first, second = transformer.layers
        to_image0, to_tokens0 = first.cross_attn_token_to_image, first.cross_attn_image_to_token
        to_image1, to_tokens1 = second.cross_attn_token_to_image, second.cross_attn_image_to_token
        final = transformer.final_attn_token_to_image
        self.grid, self.bias = grid, bias

        # Layer 0: tokens attend to the image, and the image to tokens (scaled by 1/sqrt(D)).
        self.key0 = heads(to_image0.k_proj(tokens + positions), to_image0)
        self.value0 = heads(to_image0.v_proj(tokens), to_image0)
        self.query0 = _scaled(to_tokens0.q_proj(tokens + positions), to_tokens0)
        # The centered image rows before its last norm: (N,) squared length, product with the output projection.
        rows = centre(tokens + to_tokens0.out_proj.bias)
        self.power0 = rows.square().sum(-1)
        self.out0 = heads(rows @ to_tokens0.out_proj.weight, to_tokens0)

        # Layer 1, likewise: the part that this norm's inverse deviation scales, and the rest, with the positions.
        rows = rows * first.norm4.weight
        positions1 = positions + first.norm4.bias
        self.key1 = heads(F.linear(rows, to_image1.k_proj.weight), to_image1)
        self.key1_positions = heads(to_image1.k_proj(positions1), to_image1)
        self.value1 = heads(F.linear(rows, to_image1.v_proj.weight), to_image1)
        self.query1 = _scaled(F.linear(rows, to_tokens1.q_proj.weight), to_tokens1)
        self.query1_positions = _scaled(to_tokens1.q_proj(positions1), to_tokens1)
        # The rows before its last norm: (N,) squared length, (N,) product with the norm's offset, and products with
        # the output projections of both layers.
        rows = centre(rows)
        self.power1 = rows.square().sum(-1)
        self.dot1 = rows @ centre(first.norm4.bias + to_tokens1.out_proj.bias)
        self.out1 = heads(centre(rows * first.norm4.weight) @ to_tokens0.out_proj.weight, to_tokens0)
        self.out2 = heads(rows @ to_tokens1.out_proj.weight, to_tokens1)

        # The final attention of tokens to the image, and (N,4C/4) the first transposed convolution.
        rows = rows * second.norm4.weight
        self.key2 = heads(F.linear(rows, final.k_proj.weight), final)
        self.key2_positions = heads(final.k_proj(positions + second.norm4.bias), final)
        self.value2 = heads(F.linear(rows, final.v_proj.weight), final)
        self.upscaled = rows @ upscaling_matrix(decoder)


def _scaled(rows: Tensor, attention: Attention) -> Tensor:
    return heads(rows, attention) * (attention.internal_dim // attention.num_heads) ** -0.5


def centre(rows: Tensor) -> Tensor:
    """Subtract each row's mean, as LayerNorm does: (...,C) -> (...,C)."""
    return rows - rows.mean(-1, keepdim=True)


def heads(rows: Tensor, attention: Attention) -> Tensor:
    """Split the columns by head: (N,H*D) -> (H,N,D), contiguous."""
    return rows.unflatten(-1, (attention.num_heads, -1)).transpose(0, 1).contiguous()


def out_by_head(attention: Attention) -> Tensor:
    """Return the output projection as one matrix per head: (H,D,C)."""
    return attention.out_proj.weight.T.unflatten(0, (attention.num_heads, -1))


def upscaling_matrix(decoder: MaskDecoder) -> Tensor:
    """Return the first transposed convolution, whose 2x2 patches do not overlap, as a matrix: (C, 2*2*C/4)."""
    return decoder.output_upscaling[0].weight.permute(0, 2, 3, 1).flatten(1)
