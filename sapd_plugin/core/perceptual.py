"""The frozen semantic analyser V: VGG-19 features (paper: a VGG-based analyser; weights and layers are our reading).

Any state dict of a VGG-19 loads. The names of its keys do not matter: the convolutions are taken in order, and their
shapes are checked. Two kinds of VGG-19 are supported:

* torchvision's: zero padding; the input is normalised with ImageNet's mean and standard deviation;
* the normalised one of neural style transfer: reflection padding; it starts with a 1x1 convolution, its own
  normalisation of the input.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.core.color import to_single
from sapd_plugin.errors import SAPDError
from sapd_plugin.home import expanded
from sapd_plugin.values import check_names, check_path
from sapd_plugin.weight_files import read_weights

_CONVS_PER_BLOCK = (2, 2, 4, 4, 4)
LAYERS = tuple(f'relu{b}_{c}' for b, count in enumerate(_CONVS_PER_BLOCK, 1) for c in range(1, count + 1))
TORCHVISION_FILE = 'vgg19-dcbb9e9d.pth'
BASICSR_FILE = f'experiments/pretrained_models/{TORCHVISION_FILE}'  # where BasicSR's perceptual loss looks first
_WIDTHS = (64, 128, 256, 512, 512)


def find_vgg(weights: str | os.PathLike[str] | None = None) -> Path | None:
    """Return the path of VGG-19 weights, or None if there are none.

    The first of these is returned: ``weights``, $SAPD_VGG_CHECKPOINT, torchvision's file where BasicSR looks for it
    (below the working directory), torchvision's file in the cache of torch.hub.

    Raises:
        SAPDError: ``weights`` or the variable names a file that does not exist, or ``weights`` is not a path.
    """
    if weights is not None:
        check_path('weights', weights)
    for key, named in (('weights', weights), ('SAPD_VGG_CHECKPOINT', os.environ.get('SAPD_VGG_CHECKPOINT'))):
        if named:
            if not expanded(named).is_file():
                raise SAPDError(f'{key}: no file {named}, expected VGG-19 weights.')
            return expanded(named)
    return next((place for place in vgg_places() if place.is_file()), None)


def vgg_places() -> list[Path]:
    """Return where VGG-19 weights are looked for if nothing names them: BasicSR's own place, then torch.hub's cache."""
    return [Path(BASICSR_FILE), Path(torch.hub.get_dir()) / 'checkpoints' / TORCHVISION_FILE]


class _ReflectConv(nn.Conv2d):
    """A 3x3 convolution with reflection padding that is deterministic on CUDA, too, if the user asks for it."""

    def forward(self, x: Tensor) -> Tensor:
        """Map (N,C,H,W) to (N,C',H,W)."""
        if torch.are_deterministic_algorithms_enabled():
            # On CUDA, PyTorch's reflection has no deterministic backward pass. This one is slower.
            x = torch.cat([x[..., 1:2], x, x[..., -2:-1]], dim=3)
            x = torch.cat([x[..., 1:2, :], x, x[..., -2:-1, :]], dim=2)
        else:
            x = F.pad(x, (1, 1, 1, 1), mode='reflect')
        return F.conv2d(x, self.weight, self.bias)


class VGG19Features(nn.Module):
    """Frozen VGG-19 features of RGB images.

    Args:
        layers: 'relu1_1' to 'relu5_4'.
        weights: path of a checkpoint; None means that :func:`find_vgg` finds one.

    Raises:
        SAPDError: no weights found, an unknown layer, or a file that is not a VGG-19 up to the last layer.
    """

    def __init__(self, layers: Sequence[str] = ('relu3_1',), weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        check_names('layers', layers, valid=LAYERS)
        path = find_vgg(weights)
        if path is None:
            raise SAPDError(
                'weights: no VGG-19 weights found. Looked at the key weights of the SGR loss, at $SAPD_VGG_CHECKPOINT '
                f"and at {' and '.join(map(str, vgg_places()))} (torchvision's file; "
                '`python -c \'import torchvision; torchvision.models.vgg19(weights="DEFAULT")\'` downloads it).'
            )
        convolutions = _convolutions(read_weights('weights', path, 'VGG-19 weights'))
        self.normalised = bool(convolutions) and convolutions[0][0].shape == (3, 3, 1, 1)
        if self.normalised:
            preprocess_weight, preprocess_bias = convolutions.pop(0)
        else:  # (x - mean) / std as a 1x1 convolution
            mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
            preprocess_weight, preprocess_bias = torch.diag(1 / std)[:, :, None, None], -mean / std
        self.preprocess = nn.Conv2d(3, 3, 1)
        _fill(self.preprocess, preprocess_weight, preprocess_bias, path)
        self.layers = tuple(sorted(layers, key=LAYERS.index))
        self.convs = nn.ModuleDict()
        channels = 3
        for number, layer in enumerate(LAYERS[: LAYERS.index(self.layers[-1]) + 1]):
            width = _WIDTHS[int(layer[4]) - 1]
            if number == len(convolutions) and number:
                raise SAPDError(f'layers: {path} ends at {LAYERS[number - 1]}, so it has no {self.layers[-1]}.')
            found = tuple(convolutions[number][0].shape) if convolutions else 'no convolutions'
            if found != (width, channels, 3, 3):
                raise SAPDError(
                    f'weights: {path} is not a VGG-19: expected weights of shape {(width, channels, 3, 3)} before '
                    f'{layer}, found {found}.'
                )
            kind = _ReflectConv if self.normalised else nn.Conv2d
            conv = kind(channels, width, 3, padding=1)
            _fill(conv, *convolutions[number], path)
            self.convs[layer], channels = conv, width
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> VGG19Features:
        """Stay in eval mode, because the analyser is frozen."""
        return super().train(False)

    def stride(self, layer: str) -> int:
        """Return the number of image pixels per feature cell of ``layer``, along each side."""
        return int(2 ** (int(layer[4]) - 1))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map RGB (N,3,H,W) in [0, 1] to {layer: (N,C,H/stride,W/stride)}, in float32 at least, autocast or not.

        In half precision, rounding errors of features exceed the differences between those of two restored images.
        """
        features = {}
        with torch.autocast(image.device.type, enabled=False):
            x = self.preprocess(to_single(image))
            for layer, conv in self.convs.items():
                if layer.endswith('_1') and layer != 'relu1_1':
                    x = F.max_pool2d(x, 2, ceil_mode=self.normalised)
                x = F.relu(conv(x))
                if layer in self.layers:
                    features[layer] = x
        return features


def _fill(conv: nn.Conv2d, weight: Tensor, bias: Any, path: Path) -> None:
    """Give a convolution its weights. Raises SAPDError if the bias does not fit, or not all are numbers."""
    fits = isinstance(bias, Tensor) and bias.shape == weight.shape[:1]
    if not fits or not weight.isfinite().all() or not bias.isfinite().all():
        raise SAPDError(f'weights: {path} is damaged: a bias does not fit its weights, or weights are not finite.')
    conv.load_state_dict({'weight': weight, 'bias': bias})


def _convolutions(state: Mapping[str, Any]) -> list[tuple[Tensor, Any]]:
    """Return (weight, bias) of each convolution in a state dict, bare or under 'state_dict' or 'params'."""
    for key in ('state_dict', 'params'):
        inner = state.get(key)
        state = inner if isinstance(inner, Mapping) else state
    weights = {k: v for k, v in state.items() if str(k).endswith('weight') and isinstance(v, Tensor) and v.ndim == 4}
    return [(v, state.get(f'{k[: -len("weight")]}bias', torch.zeros(len(v)))) for k, v in weights.items()]
