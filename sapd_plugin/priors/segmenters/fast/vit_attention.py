"""Global attention of SAM's ViT encoders in bounded memory."""

from __future__ import annotations

import torch
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from torch import Tensor, nn

_ROWS = 8
"""Rows of queries at once: 134 MB of scores with ViT-H in float32, where the stock layer holds three times 1 GB."""


class RowwiseAttention(nn.Module):
    """The stock layer's attention with relative positions, for some rows of queries at a time.

    Args:
        attention: the stock layer; its weights are shared.
    """

    def __init__(self, attention: Attention) -> None:
        super().__init__()
        self.stock = attention

    def forward(self, x: Tensor) -> Tensor:
        """Map (1,H,W,C) to the same shape."""
        layer = self.stock
        _, height, width, _ = x.shape
        # (3, heads, H*W, C/heads)
        query, key, value = layer.qkv(x).view(height * width, 3, layer.num_heads, -1).permute(1, 2, 0, 3)
        across = get_rel_pos(width, width, layer.rel_pos_w).to(query)
        down = get_rel_pos(height, height, layer.rel_pos_h).to(query)
        answers = []
        for top in range(0, height, _ROWS):
            rows = query[:, top * width : (top + _ROWS) * width]
            placed = rows.unflatten(1, (-1, width))
            scores = torch.matmul(rows * layer.scale, key.transpose(1, 2)).unflatten(2, (height, width))
            scores = scores.unflatten(1, (-1, width))
            scores += torch.einsum('nhwc,hkc->nhwk', placed, down[top : top + _ROWS])[..., None]
            scores += torch.einsum('nhwc,wkc->nhwk', placed, across)[..., None, :]
            answers.append(scores.flatten(1, 2).flatten(2).softmax(-1).to(value) @ value)
        joined = torch.cat(answers, dim=1).transpose(0, 1)
        return layer.proj(joined.reshape(1, height, width, -1))


def bound_memory(encoder: ImageEncoderViT) -> None:
    """Replace the global attention layers of a ViT encoder, in place. The windowed ones are small."""
    for block in encoder.blocks:
        if block.window_size == 0:
            block.attn = RowwiseAttention(block.attn)
