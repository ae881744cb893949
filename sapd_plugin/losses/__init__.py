"""Losses of published training protocols that the frameworks lack, independent of either framework.

>>> sorted(LOSSES)
['EdgeLoss', 'FrequencyLoss', 'PSNRLoss', 'SSIMLoss']
"""

from torch import nn

from sapd_plugin.losses.outputs import MultiOutputLoss, build_multi_output_loss
from sapd_plugin.losses.protocol import EdgeLoss, FrequencyLoss, ImageLoss, PSNRLoss, SSIMLoss, laplacian, ssim_map

# The adapters register these names. MultiOutputLoss needs a framework's builder.
LOSSES: dict[str, type[nn.Module]] = {loss.__name__: loss for loss in (EdgeLoss, FrequencyLoss, PSNRLoss, SSIMLoss)}

__all__ = [
    'LOSSES',
    'EdgeLoss',
    'FrequencyLoss',
    'ImageLoss',
    'MultiOutputLoss',
    'PSNRLoss',
    'SSIMLoss',
    'build_multi_output_loss',
    'laplacian',
    'ssim_map',
]
