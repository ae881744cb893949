"""The frozen semantic analyser: VGG-19 features (the paper says VGG-based; weights and layers are our reading).

Two checkpoints fit, told apart by their keys:

* torchvision's VGG-19 ("features.0.weight", ...), input normalised with ImageNet's mean and deviation;
* the mean-activation-normalised VGG-19 of neural style transfer, a bare Sequential that starts with a 1x1
  convolution (its own pre-processing) and pads by reflection.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sapd_plugin.errors import SAPDError, check_choice

_CONVS_A_BLOCK = (2, 2, 4, 4, 4)
LAYERS = tuple(f'relu{b}_{c}' for b, count in enumerate(_CONVS_A_BLOCK, 1) for c in range(1, count + 1))
TORCHVISION_FILE = 'vgg19-dcbb9e9d.pth'
# Index of each convolution in the checkpoint's Sequential, in order of LAYERS.
_TORCHVISION_INDEX = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)
_NORMALISED_INDEX = (2, 5, 9, 12, 16, 19, 22, 25, 29, 32, 35, 38, 42, 45, 48, 51)


def find_vgg(weights: str | os.PathLike[str] | None = None) -> Path | None:
    """Look for VGG-19 weights: ``weights``, then $SAPD_VGG_CHECKPOINT, then torchvision's file in torch's hub cache.

    Raises:
        SAPDError: ``weights`` or the variable names a file that does not exist.
    """
    for key, named in (('weights', weights), ('SAPD_VGG_CHECKPOINT', os.environ.get('SAPD_VGG_CHECKPOINT'))):
        if named:
            if not Path(named).expanduser().is_file():
                raise SAPDError(f'{key}: no file {named}, expected VGG-19 weights.')
            return Path(named).expanduser()
    cached = Path(torch.hub.get_dir()) / 'checkpoints' / TORCHVISION_FILE
    return cached if cached.is_file() else None


class VGG19Features(nn.Module):
    """Frozen VGG-19 features of RGB images.

    Args:
        layers: names out of :data:`LAYERS`, e.g. 'relu3_1'.
        weights: path of a checkpoint; None looks where :func:`find_vgg` says.

    Raises:
        SAPDError: no weights found, an unknown layer, or one that the checkpoint does not reach.
    """

    def __init__(self, layers: Sequence[str] = ('relu3_1',), weights: str | os.PathLike[str] | None = None) -> None:
        super().__init__()
        if isinstance(layers, str) or not layers:
            raise SAPDError(f"layers: found {layers!r}, expected a list such as ['relu3_1'].")
        for layer in layers:
            check_choice('layers', layer, LAYERS)
        path = find_vgg(weights)
        if path is None:
            raise SAPDError(
                'weights: no VGG-19 weights found. Looked at the key weights of the SGR loss, at $SAPD_VGG_CHECKPOINT '
                f"and at {Path(torch.hub.get_dir()) / 'checkpoints' / TORCHVISION_FILE} (torchvision's file; "
                '`python -c \'import torchvision; torchvision.models.vgg19(weights="DEFAULT")\'` downloads it).'
            )
        state = torch.load(path, map_location='cpu', weights_only=True)
        self.normalised = '0.weight' in state and tuple(state['0.weight'].shape) == (3, 3, 1, 1)
        self.layers = tuple(sorted(layers, key=LAYERS.index))
        self.convs = nn.ModuleDict()
        for layer, weight, bias in _convolutions(state, self.normalised, path, self.layers[-1]):
            padding: dict[str, object] = (
                {'padding': 1, 'padding_mode': 'reflect'} if self.normalised else {'padding': 1}
            )
            conv = nn.Conv2d(weight.shape[1], weight.shape[0], 3, **padding)  # type: ignore[arg-type]
            conv.load_state_dict({'weight': weight, 'bias': bias})
            self.convs[layer] = conv
        if self.normalised:
            preprocess_weight, preprocess_bias = state['0.weight'], state['0.bias']
        else:  # (x - mean) / std as a 1x1 convolution
            mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
            preprocess_weight, preprocess_bias = torch.diag(1 / std)[:, :, None, None], -mean / std
        self.preprocess = nn.Conv2d(3, 3, 1)
        self.preprocess.load_state_dict({'weight': preprocess_weight, 'bias': preprocess_bias})
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> VGG19Features:
        """Stay in evaluation mode: the analyser is frozen."""
        return super().train(False)

    def stride(self, layer: str) -> int:
        """Image pixels a feature cell of ``layer``, along each side."""
        return int(2 ** (int(layer[4]) - 1))

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """Map RGB (N,3,H,W) in [0, 1] to {layer: (N,C,H/stride,W/stride)}."""
        features = {}
        x = self.preprocess(image)
        for layer, conv in self.convs.items():
            if layer.endswith('_1') and layer != 'relu1_1':
                x = F.max_pool2d(x, 2, ceil_mode=self.normalised)
            x = F.relu(conv(x))
            if layer in self.layers:
                features[layer] = x
        return features


def _convolutions(
    state: Mapping[str, Tensor], normalised: bool, path: Path, last: str
) -> list[tuple[str, Tensor, Tensor]]:
    """List (layer, weight, bias) up to ``last``."""
    prefix, indices = ('', _NORMALISED_INDEX) if normalised else ('features.', _TORCHVISION_INDEX)
    found: list[tuple[str, Tensor, Tensor]] = []
    for layer, index in zip(LAYERS, indices):
        key = f'{prefix}{index}'
        if f'{key}.weight' not in state:
            if not found:
                raise SAPDError(
                    f'weights: {path} is no VGG-19: expected the keys of torchvision ("features.0.weight") or of the '
                    f'normalised VGG-19 ("0.weight" of shape 3x3x1x1), found {sorted(state)[:3]}.'
                )
            raise SAPDError(f'layers: {path} ends at {found[-1][0]}, so it has no {last}.')
        found.append((layer, state[f'{key}.weight'], state[f'{key}.bias']))
        if layer == last:
            break
    return found
