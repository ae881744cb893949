"""The method, in pure torch: SPF, SPD, SGR, their schedule and the one distiller."""

from sapd_plugin.core.colour import ToRGB
from sapd_plugin.core.distiller import Distilled, Distiller
from sapd_plugin.core.graft import Graft, Step
from sapd_plugin.core.perceptual import VGG19Features, find_vgg
from sapd_plugin.core.rng import BranchRNG
from sapd_plugin.core.schedule import Schedule, check_stage
from sapd_plugin.core.sgr import SGRLoss, sgr_loss
from sapd_plugin.core.spd import SPDLoss, spd_loss
from sapd_plugin.core.spf import SPF

__all__ = [
    'SPF',
    'BranchRNG',
    'Distilled',
    'Distiller',
    'Graft',
    'SGRLoss',
    'SPDLoss',
    'Schedule',
    'Step',
    'ToRGB',
    'VGG19Features',
    'check_stage',
    'find_vgg',
    'sgr_loss',
    'spd_loss',
]
