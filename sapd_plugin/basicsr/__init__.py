"""The adapter to BasicSR. Importing it registers, with BasicSR's registries:

* model ``SAPDModel``, wrapping any registered model;
* datasets ``PairedImageMaskDataset``, wrapping any registered paired dataset, and ``GaussianNoiseDataset``;
* network ``SPF``; losses ``SPDLoss``, ``SGRLoss``, ``MultiOutputLoss`` and those of
  :mod:`sapd_plugin.losses`;
* the networks of :data:`sapd_plugin.archs.NETWORKS` that BasicSR lacks;
* metrics ``calculate_protocol_psnr`` and ``calculate_protocol_ssim``; model ``FloorSRModel``, which they may need.

It also patches BasicSR, for stock runs as well: see :mod:`sapd_plugin.basicsr.patches`.
"""

from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.errors import SAPDError

try:
    alias_functional_tensor()  # BasicSR 1.4.2 cannot be imported with torchvision >= 0.17 without it
    from basicsr.utils.registry import DATASET_REGISTRY, MODEL_REGISTRY
except ModuleNotFoundError as error:
    if error.name == 'basicsr.utils.registry':
        raise SAPDError(
            'This basicsr has no registries: it is a copy that ships with NAFNet, Restormer or similar, which '
            'does not take plugins. Install BasicSR itself (pip install basicsr) and port the network to it.'
        ) from error
    raise

from sapd_plugin.basicsr.dataset import PairedImageMaskDataset
from sapd_plugin.basicsr.following import build_paired_image_mask_dataset
from sapd_plugin.basicsr.metrics import FloorSRModel, calculate_protocol_psnr, calculate_protocol_ssim
from sapd_plugin.basicsr.model import SAPDMixin, build_sapd_model
from sapd_plugin.basicsr.noise_dataset import GaussianNoiseDataset
from sapd_plugin.basicsr.patches import apply_all
from sapd_plugin.basicsr.registration import (
    build_multi_output_loss,
    build_spf_network,
    register_all,
    register_builder,
)
from sapd_plugin.core import SGRLoss, SPDLoss

# The other models, the datasets and the metrics are registered where they are defined.
register_builder(MODEL_REGISTRY, 'SAPDModel', build_sapd_model)
register_builder(DATASET_REGISTRY, 'PairedImageMaskDataset', build_paired_image_mask_dataset)
register_all()
apply_all()

__all__ = [
    'FloorSRModel',
    'GaussianNoiseDataset',
    'PairedImageMaskDataset',
    'SAPDMixin',
    'SGRLoss',
    'SPDLoss',
    'build_multi_output_loss',
    'build_paired_image_mask_dataset',
    'build_sapd_model',
    'build_spf_network',
    'calculate_protocol_psnr',
    'calculate_protocol_ssim',
]
