"""SAM's image encoder, prepared once: BatchNorm folded, channels last, global attention in bounded memory, autocast."""

from __future__ import annotations

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.modeling.image_encoder import Attention, get_rel_pos
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.segmenters.fast.geometry import INPUT_SIDE
from sapd_plugin.priors.segmenters.tiny_vit import ConvNorm, TinyViT

# Rows of queries at once: 134 MB of scores with ViT-H in float32; the stock layer holds three times 1 GB.
_ROWS = 8


def fold_batch_norm(module: nn.Module) -> None:
    """Fold every BatchNorm of a TinyViT into the convolution before it, in place; exact in evaluation mode."""
    for name, child in module.named_children():
        if isinstance(child, ConvNorm):
            folded = fuse_conv_bn_eval(child.c, child.bn)
            module.add_module(name, Pointwise(folded) if folded.kernel_size == (1, 1) else folded)
        else:
            fold_batch_norm(child)


class Pointwise(nn.Module):
    """A 1x1 convolution, computed as a matrix product of channels-last images."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(convolution.weight[:, :, 0, 0])
        self.bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (N,C,H,W) to (N,C',H,W), channels last."""
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class RowwiseAttention(nn.Module):
    """The stock layer's global attention with relative positions, in bounded memory: a few rows of queries at once."""

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


class Encoder:
    """Compute SAM's image embedding of a photo.

    Args:
        sam: in evaluation mode, on its device; its encoder is changed in place.
        dtype: 'float32', or the half precision that the encoder is autocast to. The decoder stays float32: it is a
            small share of the work, and its variances are differences of sums that half precision would spoil.

    Raises:
        SAPDError: this torch cannot autocast to ``dtype`` on the device.
    """

    def __init__(self, sam: Sam, dtype: str = 'float32') -> None:
        self._sam = sam
        self._dtype = getattr(torch, dtype)
        if self._dtype != torch.float32:
            try:
                with torch.autocast(sam.device.type, self._dtype):
                    pass
            except RuntimeError as error:  # torch 2.1 on a CPU: bfloat16 only
                raise SAPDError(f'dtype: found {dtype}, which this torch cannot use on {sam.device}.') from error
        self._layout = torch.contiguous_format
        if isinstance(sam.image_encoder, TinyViT):
            self._layout = torch.channels_last
            fold_batch_norm(sam.image_encoder)
            sam.image_encoder.to(memory_format=self._layout)
        else:
            for block in sam.image_encoder.blocks:
                if block.window_size == 0:  # global; windowed attention is small
                    block.attn = RowwiseAttention(block.attn)
        self._resize = ResizeLongestSide(INPUT_SIDE)

    def __call__(self, image: np.ndarray) -> Tensor:
        """Encode an RGB uint8 (H,W,3) photo to (256,64,64) float32."""
        pixels = torch.from_numpy(self._resize.apply_image(image)).to(self._sam.device)
        batch = self._sam.preprocess(pixels.permute(2, 0, 1)[None]).contiguous(memory_format=self._layout)
        if self._dtype == torch.float32:  # torch 2.1 takes no autocast to float32 on a CPU, not even a disabled one
            return self._sam.image_encoder(batch)[0].float()
        with torch.autocast(self._sam.device.type, self._dtype):
            return self._sam.image_encoder(batch)[0].float()
