"""The adapter to BasicSR. Importing it registers, with BasicSR's registries:

* model ``SAPDModel``, wrapping any registered model;
* datasets ``PairedImageMaskDataset`` and ``GaussianNoiseDataset``;
* network ``SPF``; losses ``SPDLoss``, ``SGRLoss``, ``MultiOutputLoss`` and those of
  :mod:`sapd_plugin.losses`;
* the networks of :data:`sapd_plugin.archs.NETWORKS` that BasicSR lacks;
* metrics ``calculate_protocol_psnr`` and ``calculate_protocol_ssim``; model ``FloorSRModel``, which they may need.

It also lets any optimizer of torch be named, see :mod:`sapd_plugin.basicsr.optimizers`, and Restormer's schedule, see
:mod:`sapd_plugin.basicsr.schedulers`.
"""

from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.errors import SAPDError

try:
    alias_functional_tensor()  # BasicSR 1.4.2 does not import beside torchvision >= 0.17 without it
    from basicsr.utils.registry import ARCH_REGISTRY, DATASET_REGISTRY, LOSS_REGISTRY, METRIC_REGISTRY, MODEL_REGISTRY
except ModuleNotFoundError as error:
    if error.name == 'basicsr.utils.registry':
        raise SAPDError(
            'This basicsr has no registries: it is the copy that ships inside NAFNet, Restormer or the like, which '
            'takes no plugins. Install BasicSR itself (pip install basicsr) and port the network to it.'
        ) from error
    raise

from sapd_plugin.basicsr.archs import register_networks
from sapd_plugin.basicsr.dataset import PairedImageMaskDataset
from sapd_plugin.basicsr.floor_model import FloorSRModel
from sapd_plugin.basicsr.losses import MultiOutputLoss, register_losses
from sapd_plugin.basicsr.metrics import calculate_protocol_psnr, calculate_protocol_ssim
from sapd_plugin.basicsr.model import SAPDModel
from sapd_plugin.basicsr.noise_dataset import GaussianNoiseDataset
from sapd_plugin.basicsr.optimizers import allow_any_optimizer
from sapd_plugin.basicsr.resume import allow_cpu_resume
from sapd_plugin.basicsr.schedulers import allow_cyclic_schedule
from sapd_plugin.basicsr.spf import SPF
from sapd_plugin.core import SGRLoss, SPDLoss

MODEL_REGISTRY.register(SAPDModel)
MODEL_REGISTRY.register(FloorSRModel)
DATASET_REGISTRY.register(PairedImageMaskDataset)
DATASET_REGISTRY.register(GaussianNoiseDataset)
ARCH_REGISTRY.register(SPF)
register_networks()
LOSS_REGISTRY.register(SPDLoss)
LOSS_REGISTRY.register(SGRLoss)
METRIC_REGISTRY.register(calculate_protocol_psnr)
METRIC_REGISTRY.register(calculate_protocol_ssim)
register_losses()
allow_cpu_resume()
allow_any_optimizer()
allow_cyclic_schedule()

__all__ = [
    'SPF',
    'FloorSRModel',
    'GaussianNoiseDataset',
    'MultiOutputLoss',
    'PairedImageMaskDataset',
    'SAPDModel',
    'SGRLoss',
    'SPDLoss',
    'calculate_protocol_psnr',
    'calculate_protocol_ssim',
]
