"""Images of any size for networks that halve them."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def pad_to_multiple(image: Tensor, multiple: int, mode: str = 'reflect') -> Tensor:
    """Pad an image at the right and the bottom; the caller cuts its output to the first H rows and W columns.

    Args:
        image: (N,C,H,W).
        multiple: both sides become multiples of this.
        mode: of ``torch.nn.functional.pad``: 'reflect', 'replicate' or 'constant' (zeros). An image that is too small
            to be reflected has its edge replicated.

    Returns:
        The padded image, or the image itself where nothing is missing.
    """
    height, width = image.shape[-2:]
    bottom, right = -height % multiple, -width % multiple
    if bottom == right == 0:
        return image
    if mode == 'reflect' and (bottom >= height or right >= width):
        mode = 'replicate'
    return F.pad(image, (0, right, 0, bottom), mode=mode)
