"""FFDNet (Zhang et al., "FFDNet: Toward a Fast and Flexible Solution for CNN-Based Image Denoising", TIP 2018).

Independent implementation. Licence of the authors' weights (cszn/KAIR): MIT.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.archs.dncnn import check_stack, plain_stack
from sapd_plugin.archs.layers import pad_to_multiple
from sapd_plugin.errors import SAPDError


class FFDNet(nn.Module):
    """A plain stack of convolutions at half size, with the noise level as an input plane (paper, section III-A).

    The frameworks call a network with only the image, so a config sets the noise level as ``sigma``. In Python, each
    call may set its own.

    Parameter names and defaults are those of the authors' PyTorch version (KAIR). They published gray (the defaults)
    and color networks (``in_nc=3, out_nc=3, nc=96, nb=12``), all with ``act_mode='R'``.

    Args:
        in_nc: channels of the image.
        out_nc: channels of the restored image; has to equal ``in_nc``, and exists because the authors' configs set it.
        nc: channels of the features.
        nb: number of convolutions, at least 2.
        act_mode: 'R': ReLU after each convolution except the last; 'BR': with batch norm, as in DnCNN.
        sigma: default standard deviation of the noise, on the 0-255 scale.

    Raises:
        SAPDError: as DnCNN, or ``sigma`` is not a number >= 0.
    """

    def __init__(
        self, in_nc: int = 1, out_nc: int = 1, nc: int = 64, nb: int = 15, act_mode: str = 'R', sigma: float = 25.0
    ) -> None:
        super().__init__()
        check_stack('FFDNet', in_nc, out_nc, nc, nb, act_mode)
        if isinstance(sigma, bool) or not isinstance(sigma, (int, float)) or not sigma >= 0:
            raise SAPDError(f'FFDNet.sigma: found {sigma!r}, expected a number of at least 0, on the 0-255 scale.')
        self.sigma = float(sigma)
        self.model = plain_stack(4 * in_nc + 1, 4 * out_nc, nc, nb, act_mode)

    def forward(self, image: Tensor, sigma: float | Tensor | None = None) -> Tensor:
        """Remove the noise from ``image`` (N,C,H,W); return the same shape.

        Args:
            image: the noisy image.
            sigma: noise level on the 0-255 scale: a number, or a tensor (N,1,1,1) with one per image. None means the
                constructor's.
        """
        height, width = image.shape[-2:]
        # The last row or column of an odd side is repeated, as in the authors' code.
        halved = F.pixel_unshuffle(pad_to_multiple(image, 2, 'replicate'), 2)
        level = torch.as_tensor(self.sigma if sigma is None else sigma, dtype=image.dtype, device=image.device) / 255
        plane = level.expand(image.shape[0], 1, *halved.shape[-2:])
        return F.pixel_shuffle(self.model(torch.cat([halved, plane], dim=1)), 2)[..., :height, :width]
