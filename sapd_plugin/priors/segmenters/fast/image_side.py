"""The part of SAM's mask decoder that depends on the image alone, computed once for all of its prompts.

Notation, as in `decoder`. The image tokens enter as rows x[n] (embedding + "no mask"), with positional encoding p[n].
Every layer of the two-way transformer ends with a LayerNorm of the image tokens; what goes in is an affine function of
shared rows and of a few prompt-dependent vectors, so each later projection splits into a shared part, here, and a small
prompt-dependent one, there.
"""

from __future__ import annotations

from dataclasses import dataclass

from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.transformer import Attention
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.errors import SAPDError

# Layers of the two-way transformer in every SAM variant; the sharing is derived for this depth.
DEPTH = 2


@dataclass
class ImageSide:
    """Shared projections of N image tokens: heads x tokens x width of a head, (H,N,D), unless stated otherwise.

    Attributes:
        grid: (rows, columns) of the tokens that lie on the image; they come first, in raster order.
        bias: (N,) added to the scores of tokens that stand for several, or None.
        key0, value0: layer 0, tokens attend to the image.
        query0: layer 0, the image attends to tokens; scaled by 1/sqrt(D).
        power0: (N,): squared length of the centred image rows before the first norm.
        out0: those rows against the output projection of the image's attention.
        key1, key1_positions, value1: layer 1, tokens attend to the image: what the norm scales, and what it does not.
        query1, query1_positions: layer 1, the image attends to tokens; scaled by 1/sqrt(D).
        power1, dot1: (N,): squared length of the rows before the second norm, and their product with its offset.
        out1, out2: those rows against the output projections of both layers' image attention.
        key2, key2_positions, value2: the final attention of tokens to the image.
        upscaled: (N,4C/4): the first transposed convolution of the rows.
    """

    grid: tuple[int, int]
    bias: Tensor | None
    key0: Tensor
    value0: Tensor
    query0: Tensor
    power0: Tensor
    out0: Tensor
    key1: Tensor
    key1_positions: Tensor
    value1: Tensor
    query1: Tensor
    query1_positions: Tensor
    power1: Tensor
    dot1: Tensor
    out1: Tensor
    out2: Tensor
    key2: Tensor
    key2_positions: Tensor
    value2: Tensor
    upscaled: Tensor


def centre(rows: Tensor) -> Tensor:
    """Subtract each row's mean, as LayerNorm does: (...,C) -> (...,C)."""
    return rows - rows.mean(-1, keepdim=True)


def heads(rows: Tensor, attention: Attention) -> Tensor:
    """Split the columns by head: (N,H*D) -> (H,N,D), contiguous."""
    return rows.unflatten(-1, (attention.num_heads, -1)).transpose(0, 1).contiguous()


def out_by_head(attention: Attention) -> Tensor:
    """The output projection as one matrix per head: (H,D,C)."""
    return attention.out_proj.weight.T.unflatten(0, (attention.num_heads, -1))


def upscaling_matrix(decoder: MaskDecoder) -> Tensor:
    """The first transposed convolution, whose 2x2 patches do not overlap, as a matrix: (C, 2*2*C/4)."""
    return decoder.output_upscaling[0].weight.permute(0, 2, 3, 1).flatten(1)


def image_side(
    decoder: MaskDecoder, tokens: Tensor, positions: Tensor, grid: tuple[int, int], bias: Tensor | None = None
) -> ImageSide:
    """Compute the shared projections.

    Args:
        decoder: SAM's mask decoder.
        tokens: (N,C) image embedding plus the "no mask" embedding.
        positions: (N,C) positional encoding of the tokens.
        grid: (rows, columns) of the leading tokens that masks are made of.
        bias: (N,) addend of each token's attention score.

    Raises:
        SAPDError: the decoder has a different depth.
    """
    transformer = decoder.transformer
    if transformer.depth != DEPTH:
        raise SAPDError(f'mask decoder: found a transformer of {transformer.depth} layers, expected {DEPTH}.')
    first, second = transformer.layers
    to_image0, to_tokens0 = first.cross_attn_token_to_image, first.cross_attn_image_to_token
    to_image1, to_tokens1 = second.cross_attn_token_to_image, second.cross_attn_image_to_token
    final = transformer.final_attn_token_to_image

    def scaled(rows: Tensor, attention: Attention) -> Tensor:
        return heads(rows, attention) * (attention.internal_dim // attention.num_heads) ** -0.5

    rows0 = centre(tokens + to_tokens0.out_proj.bias)
    scaled0 = rows0 * first.norm4.weight
    positions1 = positions + first.norm4.bias
    rows1 = centre(scaled0)
    offset1 = centre(first.norm4.bias + to_tokens1.out_proj.bias)
    scaled1 = rows1 * second.norm4.weight
    return ImageSide(
        grid=grid,
        bias=bias,
        key0=heads(to_image0.k_proj(tokens + positions), to_image0),
        value0=heads(to_image0.v_proj(tokens), to_image0),
        query0=scaled(to_tokens0.q_proj(tokens + positions), to_tokens0),
        power0=rows0.square().sum(-1),
        out0=heads(rows0 @ to_tokens0.out_proj.weight, to_tokens0),
        key1=heads(F.linear(scaled0, to_image1.k_proj.weight), to_image1),
        key1_positions=heads(to_image1.k_proj(positions1), to_image1),
        value1=heads(F.linear(scaled0, to_image1.v_proj.weight), to_image1),
        query1=scaled(F.linear(scaled0, to_tokens1.q_proj.weight), to_tokens1),
        query1_positions=scaled(to_tokens1.q_proj(positions1), to_tokens1),
        power1=rows1.square().sum(-1),
        dot1=rows1 @ offset1,
        out1=heads(centre(rows1 * first.norm4.weight) @ to_tokens0.out_proj.weight, to_tokens0),
        out2=heads(rows1 @ to_tokens1.out_proj.weight, to_tokens1),
        key2=heads(F.linear(scaled1, final.k_proj.weight), final),
        key2_positions=heads(final.k_proj(positions + second.norm4.bias), final),
        value2=heads(F.linear(scaled1, final.v_proj.weight), final),
        upscaled=scaled1 @ upscaling_matrix(decoder),
    )
