"""IR networks that BasicSR or MMagic lacks: plain modules, image in, image out, framework-free.

Parameters have the names that the authors use, so that published checkpoints load strictly. NOTICE cites each paper and
names the licence of the authors' weights.
Images are (N,C,H,W) floating, values 0-1, RGB, any H and W. A network that returns several images does so in training
mode alone; in eval mode it returns the final one. ``NETWORKS`` maps the names under which the adapters register
to classes.
"""

from torch import nn

from sapd_plugin.archs.dncnn import DnCNN
from sapd_plugin.archs.ffdnet import FFDNet
from sapd_plugin.archs.hinet import HINet
from sapd_plugin.archs.mimo_unet import MIMOUNet, MIMOUNetPlus
from sapd_plugin.archs.mprnet import MPRNet
from sapd_plugin.archs.nafnet import NAFNet, NAFNetLocal
from sapd_plugin.archs.prenet import PRN, PReNet, PReNet_r, PRN_r
from sapd_plugin.archs.rcan import RCAN
from sapd_plugin.archs.restormer import Restormer

_ALL: tuple[type[nn.Module], ...] = (
    NAFNet,
    NAFNetLocal,
    Restormer,
    HINet,
    MPRNet,
    MIMOUNet,
    MIMOUNetPlus,
    PReNet,
    PReNet_r,
    PRN,
    PRN_r,
    DnCNN,
    FFDNet,
    RCAN,
)
NETWORKS: dict[str, type[nn.Module]] = {network.__name__: network for network in _ALL}

__all__ = [
    'NETWORKS',
    'PRN',
    'RCAN',
    'DnCNN',
    'FFDNet',
    'HINet',
    'MIMOUNet',
    'MIMOUNetPlus',
    'MPRNet',
    'NAFNet',
    'NAFNetLocal',
    'PRN_r',
    'PReNet',
    'PReNet_r',
    'Restormer',
]
