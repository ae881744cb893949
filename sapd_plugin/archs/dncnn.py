"""DnCNN (Zhang et al., "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image Denoising", TIP 2017).

Independent implementation. Licence of the authors' weights (cszn/KAIR): MIT.
"""

from __future__ import annotations

from torch import Tensor, nn

from sapd_plugin.archs.layers import check_counts, padded_conv
from sapd_plugin.errors import SAPDError, check_choice

ACT_MODES = ('BR', 'R')


class DnCNN(nn.Module):
    """A plain stack of convolutions that predicts the noise, which is subtracted from the image (paper, section III-B).

    Parameter names and defaults are those of the authors' PyTorch version (KAIR). They published gray networks for one
    noise level (``nb=17``), and blind ones for gray (``nb=20``) and color (``nb=20, in_nc=3, out_nc=3``). In all of
    these, batch norm is merged into the convolutions, so they load with ``act_mode='R'``. The paper trains with 'BR'.

    Args:
        in_nc: channels of the image.
        out_nc: channels of the noise; has to equal ``in_nc``, and exists because the authors' configs set it.
        nc: channels of the features.
        nb: number of convolutions, at least 2.
        act_mode: 'BR': batch norm and ReLU after each convolution except the first (only ReLU) and the last (neither);
            'R': no batch norm.

    Raises:
        SAPDError: a count below 1 (``nb``: 2), an unknown ``act_mode``, or ``out_nc`` differs from ``in_nc``.
    """

    def __init__(self, in_nc: int = 1, out_nc: int = 1, nc: int = 64, nb: int = 17, act_mode: str = 'BR') -> None:
        super().__init__()
        check_stack('DnCNN', in_nc, out_nc, nc, nb, act_mode)
        self.model = plain_stack(in_nc, out_nc, nc, nb, act_mode)

    def forward(self, image: Tensor) -> Tensor:
        """Remove the noise from ``image`` (N,C,H,W); return the same shape."""
        return image - self.model(image)


def check_stack(network: str, in_nc: int, out_nc: int, nc: int, nb: int, act_mode: str) -> None:
    """Refuse invalid arguments of DnCNN and FFDNet.

    Raises:
        SAPDError: naming the network, the argument, what was found and what is expected.
    """
    check_counts(network, in_nc=in_nc, out_nc=out_nc, nc=nc)
    check_counts(network, 2, nb=nb)
    check_choice(f'{network}.act_mode', act_mode, ACT_MODES)
    if out_nc != in_nc:
        raise SAPDError(f'{network}.out_nc: found {out_nc}, expected {in_nc}, as in_nc.')


def plain_stack(inputs: int, outputs: int, width: int, depth: int, act_mode: str) -> nn.Sequential:
    """Return ``depth`` 3x3 convolutions with activations between them, numbered as in KAIR's checkpoints."""
    layers: list[nn.Module] = [padded_conv(inputs, width), nn.ReLU(inplace=True)]
    for _ in range(depth - 2):
        layers.append(padded_conv(width, width))
        if act_mode == 'BR':
            layers.append(nn.BatchNorm2d(width, momentum=0.9, eps=1e-4))  # KAIR's values
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers, padded_conv(width, outputs))
