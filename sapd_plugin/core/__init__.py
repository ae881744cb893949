"""The method in pure PyTorch: SPF, SPD, SGR, their schedules, and the distiller that combines them."""

from sapd_plugin.core.building import build_branch, build_spf, build_typed_loss, check_block, check_losses, refuse_base
from sapd_plugin.core.color import ToRGB
from sapd_plugin.core.distiller import Distiller, check_finite
from sapd_plugin.core.hooks import DistillationHook, captured_output
from sapd_plugin.core.online import OnlineMasks, build_online, needs_stored_masks
from sapd_plugin.core.perceptual import VGG19Features, find_vgg
from sapd_plugin.core.record import StepRecord
from sapd_plugin.core.rng import BranchRNG
from sapd_plugin.core.schedule import Schedule, check_stage
from sapd_plugin.core.sgr import SGRLoss, sgr_loss
from sapd_plugin.core.spd import SPDLoss, spd_loss
from sapd_plugin.core.spf import SPF, start_from

__all__ = [
    'SPF',
    'BranchRNG',
    'DistillationHook',
    'Distiller',
    'OnlineMasks',
    'SGRLoss',
    'SPDLoss',
    'Schedule',
    'StepRecord',
    'ToRGB',
    'VGG19Features',
    'build_branch',
    'build_online',
    'build_spf',
    'build_typed_loss',
    'captured_output',
    'check_block',
    'check_finite',
    'check_losses',
    'check_stage',
    'find_vgg',
    'needs_stored_masks',
    'refuse_base',
    'sgr_loss',
    'spd_loss',
    'start_from',
]
