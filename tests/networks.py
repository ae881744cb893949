"""Small networks that both adapters' tests register, and the comparison of networks."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class DropoutNet(nn.Module):
    """A network that draws random numbers in every training step."""

    def __init__(self, width=8):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, width, 3, padding=1),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Dropout2d(0.3),
            nn.Conv2d(width, 3, 3, padding=1),
        )

    def forward(self, image):
        return image + self.body(image)


class ScalesNet(nn.Module):
    """A network that returns a coarse and a fine image in training, and the fine one alone in testing."""

    output_index = -1

    def __init__(self, width=8):
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, width, 3, padding=1), nn.ReLU())
        self.coarse = nn.Conv2d(width, 3, 3, stride=2, padding=1)
        self.fine = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, image):
        features = self.features(image)
        fine = image + self.fine(features)
        return [self.coarse(features), fine] if self.training else fine


def assert_equal_states(a: Any, b: Any, where: str = '') -> None:
    """Compare two networks, or states such as an optimizer's, bit for bit."""
    left, right = (each.state_dict() if isinstance(each, nn.Module) else each for each in (a, b))
    if isinstance(left, (list, tuple)):
        left, right = dict(enumerate(left)), dict(enumerate(right))
    if isinstance(left, dict):
        assert left.keys() == right.keys(), where
        for key in left:
            assert_equal_states(left[key], right[key], f'{where}.{key}')
    else:
        assert torch.equal(left, right) if isinstance(left, torch.Tensor) else left == right, where
