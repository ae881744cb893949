"""SAM's image encoder, made ready once: BatchNorm folded, channels last where it convolves, autocast."""

from __future__ import annotations

import numpy as np
import torch
from segment_anything.modeling import Sam
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval

from sapd_plugin.priors.segmenters.fast.geometry import INPUT_SIDE
from sapd_plugin.priors.segmenters.fast.vit_attention import bound_memory
from sapd_plugin.priors.segmenters.tiny_vit import ConvNorm, TinyViT


def fold_batch_norm(module: nn.Module) -> None:
    """Put every BatchNorm of a TinyViT into the convolution before it, in place. Exact in evaluation mode."""
    for name, child in module.named_children():
        if isinstance(child, ConvNorm):
            module.add_module(name, _folded(child))
        else:
            fold_batch_norm(child)


def _folded(pair: ConvNorm) -> nn.Module:
    folded = fuse_conv_bn_eval(pair.c, pair.bn)
    return Pointwise(folded) if folded.kernel_size == (1, 1) else folded


class Pointwise(nn.Module):
    """A 1x1 convolution as the matrix product that it is where channels come last."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(convolution.weight[:, :, 0, 0])
        self.bias = convolution.bias

    def forward(self, x: Tensor) -> Tensor:
        """Map (N,C,H,W) to (N,C',H,W), channels last."""
        return F.linear(x.permute(0, 2, 3, 1), self.weight, self.bias).permute(0, 3, 1, 2)


class Encoder:
    """Photo -> image embedding.

    Args:
        sam: in evaluation mode, on its device; its encoder is changed in place.
        dtype: 'float32', or the half precision that the encoder is autocast to. The decoder stays float32: it is a
            small share of the work, and its variances are differences of sums that half precision would spoil.
    """

    def __init__(self, sam: Sam, dtype: str = 'float32') -> None:
        self._sam = sam
        self._dtype = getattr(torch, dtype)
        self._layout = torch.contiguous_format
        if isinstance(sam.image_encoder, TinyViT):
            self._layout = torch.channels_last
            fold_batch_norm(sam.image_encoder)
            sam.image_encoder.to(memory_format=self._layout)
        else:
            bound_memory(sam.image_encoder)
        self._resize = ResizeLongestSide(INPUT_SIDE)

    def __call__(self, image: np.ndarray) -> Tensor:
        """Encode an RGB uint8 (H,W,3) photo to (256,64,64) float32."""
        pixels = torch.from_numpy(self._resize.apply_image(image)).to(self._sam.device)
        batch = self._sam.preprocess(pixels.permute(2, 0, 1)[None]).contiguous(memory_format=self._layout)
        half = self._dtype != torch.float32
        with torch.autocast(self._sam.device.type, self._dtype, enabled=half):
            return self._sam.image_encoder(batch)[0].float()
