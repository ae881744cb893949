"""The method, in pure torch: SPF, SPD, SGR, their schedule and the one distiller."""

from sapd_plugin.core.colour import ToRGB
from sapd_plugin.core.distiller import Distilled, Distiller
from sapd_plugin.core.graft import Graft, tapped
from sapd_plugin.core.online import OnlineMasks
from sapd_plugin.core.perceptual import VGG19Features, find_vgg
from sapd_plugin.core.rng import BranchRNG
from sapd_plugin.core.schedule import Schedule, check_stage
from sapd_plugin.core.sgr import SGRLoss, sgr_loss
from sapd_plugin.core.spd import SPDLoss, spd_loss
from sapd_plugin.core.spf import SPF, build_spf, check_branch, start_from
from sapd_plugin.core.step import Step

__all__ = [
    'SPF',
    'BranchRNG',
    'Distilled',
    'Distiller',
    'Graft',
    'OnlineMasks',
    'SGRLoss',
    'SPDLoss',
    'Schedule',
    'Step',
    'ToRGB',
    'VGG19Features',
    'build_spf',
    'check_branch',
    'check_stage',
    'find_vgg',
    'sgr_loss',
    'spd_loss',
    'start_from',
    'tapped',
]
