"""Image restoration networks that BasicSR or MMagic lacks, as plain PyTorch modules.

Parameters have the names that the authors use, so that published checkpoints load strictly. NOTICE cites each paper and
names the licence of the authors' weights.

Images are (N,C,H,W) floating, RGB in [0, 1], any H and W. A network that restores several images returns them all in
training mode, as a list, and only the final one in eval mode. Its ``output_index`` is the index of the final one.
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
# The adapters register these names.
NETWORKS: dict[str, type[nn.Module]] = {network.__name__: network for network in _ALL}
