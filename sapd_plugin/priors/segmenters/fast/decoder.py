"""SAM's mask decoder for many single-point prompts on one image, equal to the stock one up to rounding.

The stock decoder (segment_anything ``MaskDecoder`` over ``TwoWayTransformer``) repeats the image tokens for every
prompt and projects the copies. Here no copy is made. With a[n,j] the attention of image token n to prompt token j
(j runs over heads and tokens) and u[j] the value of j through the output projection, the image rows are

    layer 0:  y1[n] = LN(x[n] + sum_j a1[n,j] u1[j])          = r1[n] (x'[n] + sum_j a1[n,j] u1'[j]) + beta1
    layer 1:  y2[n] = LN(y1[n] + sum_j a2[n,j] u2[j])         = r2[n] (r1[n] x''[n] + c + sum_j b[n,j] f[j]) + beta2

where ' means centered and scaled by the norm's weight, b = [r1 a1, a2], f = [u1'', u2'] and r is one number per token:
the inverse standard deviation, whose square is a quadratic form in b. Every projection of y1 or y2 is linear in these,
so the shared part is taken from `ImageSide` and the rest costs tokens x 56, not tokens x 256 x 128.

Arrays over prompts have the layout (heads, tokens of a prompt, prompts, image tokens), so that a matrix per head (the
shared image side) and a matrix per prompt (its own part) are both strided views.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from segment_anything.modeling import MaskDecoder
from segment_anything.modeling.transformer import Attention
from torch import Tensor
from torch.nn import functional as F

from sapd_plugin.priors.segmenters.fast.image_side import ImageSide, centre, out_by_head


@dataclass
class Decoded:
    """Output of the transformer for B prompts, from which `upscale` makes masks.

    Attributes:
        iou: (B,M) predicted IoU of each prompt's masks; M = 3 with SAM's multimask output.
        hyper: (B,M,C/8) weights of the masks over the upscaled image.
        mix: (2,H,T,B,N) attention of the image to the prompt's tokens, both layers; the first scaled by r1.
        basis: (B,2*H*T,C) the vectors that ``mix`` weights, centered.
        scale1, scale2: (B,N) r1 and r2.
    """

    iou: Tensor
    hyper: Tensor
    mix: Tensor
    basis: Tensor
    scale1: Tensor
    scale2: Tensor


def decode(decoder: MaskDecoder, image: ImageSide, prompts: Tensor) -> Decoded:
    """Run the two-way transformer and the heads for B prompts, given by their (B,P,C) sparse embeddings."""
    transformer = decoder.transformer
    first, second = transformer.layers
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own.expand(len(prompts), -1, -1), prompts], dim=1)
    channels = tokens.shape[-1]

    # Layer 0. Image keys and values are the same for all prompts: one attention of all prompts' tokens.
    queries = first.norm1(first.self_attn(q=tokens, k=tokens, v=tokens))
    attention = first.cross_attn_token_to_image
    asked = _by_head(attention.q_proj(queries + tokens), attention)
    bias = None if image.bias is None else image.bias[None]
    answer = F.scaled_dot_product_attention(asked.flatten(1, 2)[None], image.key0[None], image.value0[None], bias)
    queries = first.norm2(queries + attention.out_proj(_by_prompt(answer[0].view_as(asked))))
    queries = first.norm3(queries + first.mlp(queries))

    attention = first.cross_attn_image_to_token
    key = _by_head(attention.k_proj(queries + tokens), attention)
    value1 = _by_head(attention.v_proj(queries), attention)
    count = image.key0.shape[1]
    mix = prompts.new_empty(2, *key.shape[:3], count)
    torch.softmax(_shared(key, image.query0), dim=1, out=mix[0])
    moved1 = centre(_own_rows(value1, attention))
    power = _power(_shared(value1, image.out0), moved1, mix[0]) + image.power0
    scale1 = torch.rsqrt(power / channels + first.norm4.eps)
    mix[0].mul_(scale1)

    # Layer 1.
    queries = second.norm1(queries + second.self_attn(q=queries + tokens, k=queries + tokens, v=queries))
    basis = moved1 * first.norm4.weight
    attention = second.cross_attn_token_to_image
    asked = _by_head(attention.q_proj(queries + tokens), attention) * _head_width(attention) ** -0.5
    scores = _shared(asked, image.key1).mul_(scale1)
    _add_own(scores, asked, F.linear(basis, attention.k_proj.weight), mix[:1])
    _add_shared(scores, asked, image.key1_positions)
    seen = _softmax_over_image(scores, image.bias)
    answer = _own_answer(seen, mix[:1], F.linear(basis, attention.v_proj.weight))
    answer += torch.matmul(seen.mul_(scale1).flatten(1, 2), image.value1).view_as(asked)
    constant = attention.v_proj(first.norm4.bias)
    queries = second.norm2(queries + attention.out_proj(_by_prompt(answer) + constant))
    queries = second.norm3(queries + second.mlp(queries))

    attention = second.cross_attn_image_to_token
    key = _by_head(attention.k_proj(queries + tokens), attention)
    value2 = _by_head(attention.v_proj(queries), attention)
    scores = _shared(key, image.query1).mul_(scale1)
    scaled_key = key * _head_width(attention) ** -0.5
    _add_own(scores, scaled_key, F.linear(basis, attention.q_proj.weight), mix[:1])
    _add_shared(scores, key, image.query1_positions)
    torch.softmax(scores, dim=1, out=mix[1])
    basis = torch.cat([centre(basis), centre(_own_rows(value2, attention))], dim=1)
    offset = centre(first.norm4.bias + attention.out_proj.bias)
    linear = torch.empty_like(mix)
    for layer, value, out in zip(linear, (value1, value2), (image.out1, image.out2)):
        torch.bmm(value.flatten(1, 2), out.transpose(1, 2), out=layer.flatten(1, 2))
    linear *= scale1
    linear += (basis @ offset).T.view(*mix.shape[:4], 1)
    power = _power(linear.flatten(0, 1), basis, mix.flatten(0, 1))
    power += scale1 * (scale1 * image.power1 + 2 * image.dot1) + offset.square().sum()
    scale2 = torch.rsqrt(power / channels + second.norm4.eps)

    # Final attention, only for the tokens that give an output: predicted IoU, and all masks but the single one.
    queries, tokens = (torch.cat([rows[:, :1], rows[:, 2 : len(own)]], dim=1) for rows in (queries, tokens))
    attention = transformer.final_attn_token_to_image
    scaled_basis, scaled_offset = basis * second.norm4.weight, offset * second.norm4.weight
    asked = _by_head(attention.q_proj(queries + tokens), attention) * _head_width(attention) ** -0.5
    scores = _shared(asked, image.key2).mul_(scale1)
    _add_own(scores, asked, F.linear(scaled_basis, attention.k_proj.weight), mix)
    pull = F.linear(scaled_offset, attention.k_proj.weight).unflatten(0, (attention.num_heads, -1))
    scores.add_(torch.einsum('htbd,hd->htb', asked, pull)[..., None]).mul_(scale2)
    _add_shared(scores, asked, image.key2_positions)
    seen = _softmax_over_image(scores, image.bias).mul_(scale2)
    answer = _own_answer(seen, mix, F.linear(scaled_basis, attention.v_proj.weight))
    push = F.linear(scaled_offset, attention.v_proj.weight).unflatten(0, (attention.num_heads, 1, 1, -1))
    answer += seen.sum(-1, keepdim=True) * push
    answer += torch.matmul(seen.mul_(scale1).flatten(1, 2), image.value2).view_as(asked)
    constant = attention.v_proj(second.norm4.bias)
    queries = transformer.norm_final_attn(queries + attention.out_proj(_by_prompt(answer) + constant))

    networks = decoder.output_hypernetworks_mlps[1:]
    hyper = torch.stack([network(queries[:, 1 + i]) for i, network in enumerate(networks)], dim=1)
    iou = decoder.iou_prediction_head(queries[:, 0])[:, 1:]
    return Decoded(iou, hyper, mix, basis, scale1, scale2)


def _head_width(attention: Attention) -> int:
    return attention.internal_dim // attention.num_heads


def _by_head(rows: Tensor, attention: Attention) -> Tensor:
    """Rearrange (B,T,H*D) to (H,T,B,D), contiguous."""
    return rows.unflatten(-1, (attention.num_heads, -1)).permute(2, 1, 0, 3).contiguous()


def _by_prompt(parts: Tensor) -> Tensor:
    """Rearrange (H,T,B,D) to (B,T,H*D)."""
    return parts.permute(2, 1, 0, 3).flatten(2)


def _prompt_view(mix: Tensor) -> Tensor:
    """View (..., B, N) as (B, all before, N)."""
    return mix.flatten(0, -3).transpose(0, 1)


def _shared(asked: Tensor, image: Tensor) -> Tensor:
    """Multiply (H,T,B,D) by the shared (H,N,D): (H,T,B,N)."""
    return torch.bmm(asked.flatten(1, 2), image.transpose(1, 2)).view(*asked.shape[:3], -1)


def _add_shared(scores: Tensor, asked: Tensor, image: Tensor) -> None:
    """Compute ``scores += _shared(asked, image)``."""
    scores.flatten(1, 2).baddbmm_(asked.flatten(1, 2), image.transpose(1, 2))


def _add_own(scores: Tensor, asked: Tensor, rows: Tensor, mix: Tensor) -> None:
    """Add the products of (H,T,B,D) with the prompt's own image part, sum_j mix[j] rows[j]; rows: (B,J,H*D)."""
    by_head = rows.unflatten(-1, (asked.shape[0], -1))
    weights = torch.einsum('htbd,bjhd->bhtj', asked, by_head).flatten(1, 2)
    _prompt_view(scores).baddbmm_(weights, _prompt_view(mix))


def _own_answer(seen: Tensor, mix: Tensor, rows: Tensor) -> Tensor:
    """Attend to the prompt's own image part: (H,T,B,N) x (..,B,N) x (B,J,H*D) -> (H,T,B,D)."""
    together = torch.bmm(_prompt_view(seen), _prompt_view(mix).transpose(1, 2))
    by_head = rows.unflatten(-1, (seen.shape[0], -1))
    return torch.einsum('bhtj,bjhd->htbd', together.unflatten(1, seen.shape[:2]), by_head)


def _own_rows(value: Tensor, attention: Attention) -> Tensor:
    """Apply the output projection to values, one row per head and token: (H,T,B,D) -> (B,H*T,C)."""
    rows = torch.bmm(value.flatten(1, 2), out_by_head(attention))
    return rows.view(*value.shape[:3], -1).flatten(0, 1).transpose(0, 1)


def _power(linear: Tensor, rows: Tensor, mix: Tensor) -> Tensor:
    """Return sum_j mix[j] (2 linear[j] + sum_k rows[j].rows[k] mix[k]), (B,N); ``linear`` is overwritten."""
    gram = rows @ rows.transpose(1, 2)
    _prompt_view(linear).baddbmm_(gram, _prompt_view(mix), beta=2)
    return linear.mul_(mix).sum((0, 1))


def _softmax_over_image(scores: Tensor, bias: Tensor | None) -> Tensor:
    if bias is not None:
        scores += bias
    return scores.softmax(-1)
