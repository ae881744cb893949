"""Small networks that both adapters' tests register, and the comparison of networks."""

from __future__ import annotations

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


def assert_equal_states(a: nn.Module | dict, b: nn.Module | dict) -> None:
    """Compare two networks or state dicts bit for bit."""
    left, right = (m if isinstance(m, dict) else m.state_dict() for m in (a, b))
    assert left.keys() == right.keys()
    for key in left:
        assert torch.equal(left[key], right[key]), key
