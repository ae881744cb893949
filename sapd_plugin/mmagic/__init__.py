"""The adapter to MMagic. Importing it (``custom_imports``) registers, with MMagic's registries:

* model ``SAPDModel``, wrapping BaseEditModel and its descendants;
* dataset ``PairedImageMaskDataset``, wrapping any image dataset;
* network ``SPF``; losses ``SPDLoss``, ``SGRLoss``, ``MultiOutputLoss`` and those of
  :mod:`sapd_plugin.losses`;
* the networks of :data:`sapd_plugin.archs.NETWORKS` that MMagic lacks, and EDSR and SwinIR as names of its own;
* transforms ``GaussianNoise`` and ``MATLABGrey``;
* metrics ``ProtocolPSNR`` and ``ProtocolSSIM``;
* hooks ``SAPDHook`` and ``PublishedCheckpointHook``; optimizer constructor ``SAPDOptimWrapperConstructor``.

It also lets MMEngine read its own checkpoints under torch >= 2.6, see :mod:`sapd_plugin.mmagic.checkpoints`.
"""

from mmagic.registry import DATASETS, HOOKS, METRICS, MODELS, OPTIM_WRAPPER_CONSTRUCTORS, TRANSFORMS

from sapd_plugin.core import SGRLoss, SPDLoss
from sapd_plugin.mmagic.archs import register_networks
from sapd_plugin.mmagic.checkpoints import trust_own_checkpoints
from sapd_plugin.mmagic.dataset import PairedImageMaskDataset
from sapd_plugin.mmagic.hook import SAPDHook
from sapd_plugin.mmagic.losses import MultiOutputLoss, register_losses
from sapd_plugin.mmagic.metrics import ProtocolPSNR, ProtocolSSIM
from sapd_plugin.mmagic.model import SAPDModel
from sapd_plugin.mmagic.noise import GaussianNoise, MATLABGrey
from sapd_plugin.mmagic.optim import SAPDOptimWrapperConstructor
from sapd_plugin.mmagic.published import PublishedCheckpointHook
from sapd_plugin.mmagic.spf import SPF

for _module in (SAPDModel, SPF, SPDLoss, SGRLoss):
    MODELS.register_module(module=_module)
register_networks()
DATASETS.register_module(module=PairedImageMaskDataset)
HOOKS.register_module(module=SAPDHook)
HOOKS.register_module(module=PublishedCheckpointHook)
OPTIM_WRAPPER_CONSTRUCTORS.register_module(module=SAPDOptimWrapperConstructor)
register_losses()
for _transform in (GaussianNoise, MATLABGrey):
    TRANSFORMS.register_module(module=_transform)
for _metric in (ProtocolPSNR, ProtocolSSIM):
    METRICS.register_module(module=_metric)
trust_own_checkpoints()

__all__ = [
    'SPF',
    'GaussianNoise',
    'MATLABGrey',
    'MultiOutputLoss',
    'PairedImageMaskDataset',
    'ProtocolPSNR',
    'ProtocolSSIM',
    'PublishedCheckpointHook',
    'SAPDHook',
    'SAPDModel',
    'SAPDOptimWrapperConstructor',
    'SGRLoss',
    'SPDLoss',
]
