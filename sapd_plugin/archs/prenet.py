"""PReNet and its relatives for deraining (Ren et al., "Progressive Image Deraining Networks: A Better and Simpler
Baseline", CVPR 2019).

Independent implementation. Licence of the authors' weights (csdwren/PReNet): no licence file found; ask the authors.

PRN applies the same small residual network ``recurrent_iter`` times, to the rainy image and the latest estimate (paper,
section 3.1). PReNet adds a convolutional LSTM that carries features from stage to stage (section 3.1). The ``_r``
versions apply one residual block five times instead of five blocks (section 3.2). The loss is the negative SSIM of the
last stage alone (section 3.3), so these networks always return one image.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sapd_plugin.archs.layers import check_counts, padded_conv

RES_BLOCKS = 5  # per stage


class _Progressive(nn.Module):
    """Base class of the four networks: with or without ``lstm``, with or without one ``shared`` residual block."""

    lstm: bool
    shared: bool

    def __init__(self, recurrent_iter: int = 6, width: int = 32, img_channel: int = 3) -> None:
        super().__init__()
        check_counts(type(self).__name__, recurrent_iter=recurrent_iter, width=width, img_channel=img_channel)
        self.recurrent_iter, self.width = recurrent_iter, width
        self.conv0 = nn.Sequential(padded_conv(2 * img_channel, width), nn.ReLU())
        for k in range(1, 2 if self.shared else RES_BLOCKS + 1):
            block = nn.Sequential(padded_conv(width, width), nn.ReLU(), padded_conv(width, width), nn.ReLU())
            self.add_module(f'res_conv{k}', block)
        if self.lstm:
            self.conv_i = nn.Sequential(padded_conv(2 * width, width), nn.Sigmoid())
            self.conv_f = nn.Sequential(padded_conv(2 * width, width), nn.Sigmoid())
            self.conv_g = nn.Sequential(padded_conv(2 * width, width), nn.Tanh())
            self.conv_o = nn.Sequential(padded_conv(2 * width, width), nn.Sigmoid())
        self.conv = nn.Sequential(padded_conv(width, img_channel))

    def forward(self, image: Tensor) -> Tensor:
        """Remove the rain from ``image`` (N,C,H,W); return the last stage's image, same shape."""
        blocks = [self.get_submodule(f'res_conv{1 if self.shared else k + 1}') for k in range(RES_BLOCKS)]
        restored = image
        hidden = cell = image.new_zeros(image.shape[0], self.width, *image.shape[-2:])
        for _ in range(self.recurrent_iter):
            x = self.conv0(torch.cat([image, restored], dim=1))
            if self.lstm:
                both = torch.cat([x, hidden], dim=1)
                cell = self.conv_f(both) * cell + self.conv_i(both) * self.conv_g(both)
                x = hidden = self.conv_o(both) * torch.tanh(cell)
            for block in blocks:
                x = torch.relu(x + block(x))
            restored = image + self.conv(x)
        return restored


class PRN(_Progressive):
    """Progressive residual network: five residual blocks per stage.

    Args:
        recurrent_iter: number of stages.
        width: channels of the features.
        img_channel: channels of the image.

    Raises:
        SAPDError: an argument is not an integer >= 1.
    """

    lstm, shared = False, False


class PRN_r(_Progressive):
    """:class:`PRN` with one residual block, applied five times per stage; same arguments."""

    lstm, shared = False, True


class PReNet(_Progressive):
    """Progressive recurrent network: :class:`PRN` with a convolutional LSTM across the stages; same arguments."""

    lstm, shared = True, False


class PReNet_r(_Progressive):
    """:class:`PReNet` with one residual block, applied five times per stage; same arguments."""

    lstm, shared = True, True
