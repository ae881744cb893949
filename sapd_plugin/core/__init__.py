"""The method in pure PyTorch: SPF, SPD, SGR, their schedules, and the distiller that combines them."""

from sapd_plugin.core.balance import Contribution, balanced
from sapd_plugin.core.building import (
    build_branch,
    build_spf,
    build_typed_loss,
    check_arguments_of,
    check_block,
    check_losses,
    refuse_base,
)
from sapd_plugin.core.color import ToRGB
from sapd_plugin.core.distiller import Distiller
from sapd_plugin.core.finite import FiniteCheck, read_values
from sapd_plugin.core.hints import HintLoss, build_hint, captured_features
from sapd_plugin.core.hooks import DistillationHook, captured_output
from sapd_plugin.core.online import OnlineMasks, build_online, needs_stored_masks
from sapd_plugin.core.perceptual import VGG19Features, find_vgg
from sapd_plugin.core.precision import BranchScaler, GradScaler, full_precision, in_float16, loss_scale
from sapd_plugin.core.record import StepRecord, Supervision
from sapd_plugin.core.rehearsal import check_image
from sapd_plugin.core.rng import BranchRNG
from sapd_plugin.core.schedule import Schedule, check_stage
from sapd_plugin.core.settings import StepSettings, check_frozen, read_settings
from sapd_plugin.core.sgr import SGRLoss, sgr_loss
from sapd_plugin.core.shares import ShareWatch
from sapd_plugin.core.spd import SPDLoss, spd_loss
from sapd_plugin.core.spf import SPF, start_from
from sapd_plugin.core.teacher import Teacher

__all__ = [
    'SPF',
    'BranchRNG',
    'BranchScaler',
    'Contribution',
    'DistillationHook',
    'Distiller',
    'FiniteCheck',
    'GradScaler',
    'HintLoss',
    'OnlineMasks',
    'SGRLoss',
    'SPDLoss',
    'Schedule',
    'ShareWatch',
    'StepRecord',
    'StepSettings',
    'Supervision',
    'Teacher',
    'ToRGB',
    'VGG19Features',
    'balanced',
    'build_branch',
    'build_hint',
    'build_online',
    'build_spf',
    'build_typed_loss',
    'captured_features',
    'captured_output',
    'check_arguments_of',
    'check_block',
    'check_frozen',
    'check_image',
    'check_losses',
    'check_stage',
    'find_vgg',
    'full_precision',
    'in_float16',
    'loss_scale',
    'needs_stored_masks',
    'read_settings',
    'read_values',
    'refuse_base',
    'sgr_loss',
    'spd_loss',
    'start_from',
]
