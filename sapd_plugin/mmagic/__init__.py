"""The adapter to MMagic. Importing it (``custom_imports``) registers, with MMagic's registries:

* model ``SAPDModel``, wrapping BaseEditModel and its subclasses;
* dataset ``PairedImageMaskDataset``, wrapping any image dataset;
* network ``SPF``; losses ``SPDLoss``, ``SGRLoss``, ``MultiOutputLoss`` and those of
  :mod:`sapd_plugin.losses`;
* the networks of :data:`sapd_plugin.archs.NETWORKS` that MMagic lacks, and the names EDSR and SwinIR for its own;
* transforms ``GaussianNoise`` and ``MATLABGray``, also as ``MATLABGrey``;
* metrics ``ProtocolPSNR`` and ``ProtocolSSIM``;
* hooks ``SAPDHook`` and ``PublishedCheckpointHook``; optimizer constructor ``SAPDOptimWrapperConstructor``.

It also lets MMEngine read its own checkpoints under torch >= 2.6, see :mod:`sapd_plugin.mmagic.checkpoints`, and lets
runs that were killed while they saved be resumed, see :mod:`sapd_plugin.mmagic.saving`.
"""

from sapd_plugin.core import SGRLoss, SPDLoss
from sapd_plugin.mmagic.checkpoints import trust_own_checkpoints
from sapd_plugin.mmagic.dataset import build_paired_image_mask_dataset
from sapd_plugin.mmagic.hook import SAPDHook
from sapd_plugin.mmagic.loading import name_unreadable_images
from sapd_plugin.mmagic.metrics import ProtocolPSNR, ProtocolSSIM
from sapd_plugin.mmagic.model import SAPDMixin, build_sapd_model
from sapd_plugin.mmagic.noise import GaussianNoise, MATLABGray
from sapd_plugin.mmagic.optim import SAPDOptimWrapperConstructor
from sapd_plugin.mmagic.published import PublishedCheckpointHook
from sapd_plugin.mmagic.registration import build_multi_output_loss, build_spf_network, register_all
from sapd_plugin.mmagic.saving import keep_checkpoints_whole

# The names that configs in pure Python import; those of classes are above.
SAPDModel, PairedImageMaskDataset = build_sapd_model, build_paired_image_mask_dataset
SPF, MultiOutputLoss = build_spf_network, build_multi_output_loss

# Everything else is registered where it is defined.
register_all()
trust_own_checkpoints()
keep_checkpoints_whole()
name_unreadable_images()

__all__ = [
    'SPF',
    'GaussianNoise',
    'MATLABGray',
    'MultiOutputLoss',
    'PairedImageMaskDataset',
    'ProtocolPSNR',
    'ProtocolSSIM',
    'PublishedCheckpointHook',
    'SAPDHook',
    'SAPDMixin',
    'SAPDModel',
    'SAPDOptimWrapperConstructor',
    'SGRLoss',
    'SPDLoss',
    'build_multi_output_loss',
    'build_paired_image_mask_dataset',
    'build_sapd_model',
    'build_spf_network',
]
