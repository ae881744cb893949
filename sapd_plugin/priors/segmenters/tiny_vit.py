"""TinyViT-5M as MobileSAM's image encoder: (N,3,1024,1024) -> (N,256,64,64).

Architecture after Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision Transformers", ECCV 2022 (the
blocks), and Zhang et al., "Faster Segment Anything: Towards Lightweight SAM for Mobile Applications", arXiv 2306.14289
(1024 input, last stage without stride, SAM's neck). Parameter names are those of MobileSAM's checkpoint.

Independent implementation. Licence of the authors' weights (ChaoningZhang/MobileSAM): Apache-2.0.
"""

from __future__ import annotations

import torch
from segment_anything.modeling.common import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

IMAGE_SIZE = 1024
_WIDTHS = (64, 128, 160, 320)
_DEPTHS = (2, 2, 6, 2)
_HEADS = (2, 4, 5, 10)
_WINDOWS = (7, 7, 14, 7)
_EXPANSION = 4


def _gelu(x: Tensor) -> Tensor:
    """Apply GELU in place: at these sizes, allocating a new tensor costs as much as the function."""
    return torch.ops.aten.gelu_(x)


class ConvNorm(nn.Sequential):
    """Convolution without bias, then BatchNorm."""

    c: nn.Conv2d
    bn: nn.BatchNorm2d

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.add_module('c', nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False))
        self.add_module('bn', nn.BatchNorm2d(outputs))


class PatchEmbed(nn.Module):
    """Two strided convolutions: image -> features at a quarter of its size."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seq = nn.Sequential(ConvNorm(3, width // 2, 3, 2), nn.GELU(), ConvNorm(width // 2, width, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        """Map (N,3,H,W) to (N,width,H/4,W/4)."""
        return self.seq(x)


class Bottleneck(nn.Module):
    """Pointwise, depthwise 3x3 and pointwise convolution, GELU between them: the transition to the next stage."""

    def __init__(self, inputs: int, hidden: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = ConvNorm(inputs, hidden)
        self.conv2 = ConvNorm(hidden, hidden, 3, stride, groups=hidden)
        self.conv3 = ConvNorm(hidden, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N,C,H,W) to (N,C',H/stride,W/stride)."""
        return self.conv3(_gelu(self.conv2(_gelu(self.conv1(x)))))


class MBConv(Bottleneck):
    """Inverted bottleneck with a residual."""

    def __init__(self, width: int) -> None:
        super().__init__(width, width * _EXPANSION, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N,C,H,W) to the same shape."""
        return _gelu(x + super().forward(x))


class WindowAttention(nn.Module):
    """Self-attention in a square window, with a learnt bias for each distance (|dy|, |dx|)."""

    distance: Tensor

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        y, x = torch.arange(window * window) // window, torch.arange(window * window) % window
        distance = (y[:, None] - y).abs() * window + (x[:, None] - x).abs()
        self.register_buffer('distance', distance, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map (windows, window*window, width) to the same shape."""
        count, tokens, width = x.shape
        # Each head's query, key and value are adjacent.
        qkv = self.qkv(self.norm(x)).view(count, tokens, self.heads, 3, width // self.heads)
        q, k, v = qkv.permute(3, 0, 2, 1, 4)
        # PyTorch's fused kernel takes only four dimensions; its fallback is three times as slow.
        bias = self.attention_biases[:, self.distance][None].to(q.dtype)  # torch 2.1 does not autocast the mask
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(out.transpose(1, 2).reshape(count, tokens, width))


class MLP(nn.Module):
    """LayerNorm, widen, GELU, narrow."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1 = nn.Linear(width, width * _EXPANSION)
        self.fc2 = nn.Linear(width * _EXPANSION, width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (...,width) to the same shape."""
        return self.fc2(_gelu(self.fc1(self.norm(x))))


class TinyViTBlock(nn.Module):
    """Window attention, depthwise 3x3, MLP."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.attn = WindowAttention(width, heads, window)
        self.local_conv = ConvNorm(width, width, 3, groups=width)
        self.mlp = MLP(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N,C,H,W) to the same shape."""
        x = x + self._attend(x)
        x = self.local_conv(x)
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _attend(self, x: Tensor) -> Tensor:
        n, width, h, w = x.shape
        side = self.window
        # As in training: zero padding before the norm and no attention mask, so the padding takes part.
        x = F.pad(x, (0, -w % side, 0, -h % side))
        rows, columns = x.shape[2] // side, x.shape[3] // side
        windows = x.view(n, width, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
        out = self.attn(windows.reshape(-1, side * side, width))
        out = out.view(n, rows, columns, side, side, width).permute(0, 5, 1, 3, 2, 4)
        return out.reshape(n, width, rows * side, columns * side)[:, :, :h, :w]


class Stage(nn.Module):
    """Blocks of one width, then the transition to the next stage."""

    def __init__(self, index: int) -> None:
        super().__init__()
        width = _WIDTHS[index]
        self.blocks = nn.ModuleList(
            MBConv(width) if index == 0 else TinyViTBlock(width, _HEADS[index], _WINDOWS[index])
            for _ in range(_DEPTHS[index])
        )
        if index + 1 < len(_WIDTHS):
            wider = _WIDTHS[index + 1]
            self.downsample = Bottleneck(width, wider, wider, stride=2 if index < 2 else 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (N,C,H,W) to the next stage's input."""
        for block in self.blocks:
            x = block(x)
        return self.downsample(x) if hasattr(self, 'downsample') else x


class TinyViT(nn.Module):
    """MobileSAM's image encoder; SAM's pre-processing reads ``img_size``."""

    def __init__(self) -> None:
        super().__init__()
        self.img_size = IMAGE_SIZE
        self.patch_embed = PatchEmbed(_WIDTHS[0])
        self.layers = nn.ModuleList(Stage(i) for i in range(len(_WIDTHS)))
        self.neck = nn.Sequential(
            nn.Conv2d(_WIDTHS[-1], 256, 1, bias=False),
            LayerNorm2d(256),
            nn.Conv2d(256, 256, 3, padding=1, bias=False),
            LayerNorm2d(256),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Encode a normalised, padded (N,3,1024,1024) image to (N,256,64,64)."""
        x = self.patch_embed(x)
        for layer in self.layers:
            x = layer(x)
        return self.neck(x)
