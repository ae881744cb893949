"""Tables that the tests of the networks share: published sizes, and settings that are small enough for a test.

A new network in NETWORKS gets a line in TINY, and one line in PUBLISHED for each size that its authors name.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Published(NamedTuple):
    name: str
    settings: dict[str, Any]
    parameters: int  # all of them, exactly
    macs: float  # multiply-adds of convolutions and matrix products, in 10^9
    tolerance: float  # relative, of macs: published values are rounded, and some count more than these products
    source: str
    size: tuple[int, int, int] = (3, 256, 256)  # C, H, W of the input


GOPRO = {'enc_blk_nums': [1, 1, 1, 28], 'middle_blk_num': 1, 'dec_blk_nums': [1, 1, 1, 1]}
SIDD = {'enc_blk_nums': [2, 2, 4, 8], 'middle_blk_num': 12, 'dec_blk_nums': [2, 2, 2, 2]}
COLOUR = {'in_nc': 3, 'out_nc': 3}
PIXELS = 256 * 256
# Products per pixel and stage of PReNet: f_in, the four gates, ten convolutions, f_out (its section 3.2, figures 2, 3).
IN, GATES, BLOCKS, OUT = 9 * 6 * 32, 4 * 9 * 64 * 32, 10 * 9 * 32 * 32, 9 * 32 * 3
PRN_MACS, PRENET_MACS = (PIXELS * 6 * (IN + gates + BLOCKS + OUT) / 1e9 for gates in (0, GATES))

# The papers' counters leave out the two products in each block of Restormer's attention, 2 * C * C / heads per pixel
# (its section 3.1). Rows: blocks, pixels per feature, C, heads.
LEVELS = [(4, 1, 48, 1), (8, 1, 96, 1), (12, 4, 96, 2), (12, 16, 192, 4), (8, 64, 384, 8)]
ATTENTION = sum(blocks * PIXELS / shrunk * 2 * width * width / heads for blocks, shrunk, width, heads in LEVELS) / 1e9
# They count the products of a transposed convolution of stride 2 per pixel of its output instead of its input, which
# gives four times as many. HINet has eight such layers with 128 * 64 * PIXELS products each, MIMO-UNet has two.
HINET_EXCESS = 3 * 8 * 128 * 64 * PIXELS / 1e9
MIMO_EXCESS = 3 * 16 * (128 * 64 / 16 + 64 * 32 / 4) * PIXELS / 1e9
DNCNN_MACS = PIXELS * 9 * (2 * 64 + 15 * 64 * 64) / 1e9
FFDNET_MACS = PIXELS / 4 * 9 * (5 * 64 + 13 * 64 * 64 + 64 * 4) / 1e9
FFDNET_COLOUR_MACS = PIXELS / 4 * 9 * (13 * 96 + 10 * 96 * 96 + 96 * 12) / 1e9
RCAN_X2_MACS = 230_400 * 9 * (3 * 64 + 411 * 64 * 64 + 4 * 64 * 64 + 4 * 64 * 3) / 1e9

# Parameters are counted in the authors' code, or in the published checkpoint of PReNet, DnCNN and FFDNet.
NAFNET = 'github.com/megvii-research/NAFNet; MACs: the paper, '
RESTORMER = 'github.com/swz30/Restormer; MACs: the paper, 140.99 G'
HINET = 'github.com/megvii-model/HINet; MACs: the paper, 170.7 G'
MPRNET = "github.com/swz30/MPRNet; MACs: HINet's 170.7 G are, by its README, "
MIMO = 'github.com/chosj95/MIMO-UNet; MACs: as later papers list them, '
PRENET = 'products: by hand from the layers that the paper lists, six stages'
DNCNN = 'sigma 25; products: by hand, 17 layers of 64 channels (section III-B)'
FFDNET = 'products: by hand, 15 layers of 64 channels, in color 12 of 96 (section III)'
RCAN_X4 = 'github.com/yulunzhang/RCAN; multi-adds: as later papers list them for an output of 1280x720'
RCAN_X2 = 'as for scale 4; products: by hand, 10 groups of 20 blocks of two convolutions (sections 3 and 4.1)'

PUBLISHED = [
    Published('NAFNet', {'width': 32, **GOPRO}, 17_111_907, 16, 0.01, NAFNET + 'section 3, 16 G'),
    Published('NAFNet', {'width': 32, **SIDD}, 29_159_715, 16, 0.01, NAFNET + 'section 3, 16 G'),
    # Its counter adds biases, norms and pooling to the products.
    Published('NAFNet', {'width': 64, **GOPRO}, 67_888_835, 65, 0.035, NAFNET + 'tables of results, 65 G'),
    Published('NAFNetLocal', {'width': 64, **GOPRO}, 67_888_835, 65, 0.035, NAFNET + 'as NAFNet'),
    Published('Restormer', {}, 26_126_644, 140.99 + ATTENTION, 1e-4, RESTORMER),
    Published('HINet', {}, 88_669_702, 170.7 - HINET_EXCESS, 0.002, HINET),
    Published('MPRNet', {}, 20_127_073, 170.7 / 0.225, 0.003, MPRNET + '22.5 % of this, for deblurring'),
    Published('MPRNet', {'n_feat': 80}, 15_741_025, 170.7 / 0.30, 0.01, MPRNET + '30 % of this, for denoising'),
    Published('MIMOUNet', {}, 6_807_171, 67.17 - MIMO_EXCESS, 0.005, MIMO + '67.17 G'),
    Published('MIMOUNetPlus', {}, 16_107_651, 154.41 - MIMO_EXCESS, 0.005, MIMO + '154.41 G'),
    Published('PReNet', {}, 168_963, PRENET_MACS, 1e-6, PRENET),
    Published('PReNet_r', {}, 94_979, PRENET_MACS, 1e-6, PRENET),
    Published('PRN', {}, 95_107, PRN_MACS, 1e-6, PRENET),
    Published('PRN_r', {}, 21_123, PRN_MACS, 1e-6, PRENET),
    Published('DnCNN', {'act_mode': 'R'}, 555_137, DNCNN_MACS, 1e-6, DNCNN, (1, 256, 256)),
    Published('FFDNet', {}, 485_316, FFDNET_MACS, 1e-6, FFDNET, (1, 256, 256)),
    Published('FFDNet', {**COLOUR, 'nc': 96, 'nb': 12}, 852_108, FFDNET_COLOUR_MACS, 1e-6, FFDNET),
    # 24 of the parameters are in the fixed shift of the mean.
    Published('RCAN', {'scale': 4}, 15_592_379, 916.9, 0.001, RCAN_X4, (3, 180, 320)),
    # Channel attention, on one pixel, is not counted by hand.
    Published('RCAN', {'scale': 2}, 15_444_667, RCAN_X2_MACS, 1e-4, RCAN_X2, (3, 360, 640)),
]

NAFNET_TINY = {'width': 4, 'enc_blk_nums': [1, 1], 'middle_blk_num': 1, 'dec_blk_nums': [1, 1]}
PRENET_TINY = {'recurrent_iter': 2, 'width': 4}
TINY: dict[str, dict[str, Any]] = {
    'NAFNet': NAFNET_TINY,
    'NAFNetLocal': {**NAFNET_TINY, 'train_size': [24, 24]},
    'Restormer': {'dim': 8, 'num_blocks': [1, 1, 1, 1], 'num_refinement_blocks': 1, 'heads': [1, 1, 2, 2]},
    'HINet': {'wf': 4, 'depth': 3},
    # With a larger reduction, ReLUs inside its attention can be dead by chance.
    'MPRNet': {'n_feat': 5, 'scale_unetfeats': 1, 'scale_orsnetfeats': 1, 'num_cab': 1, 'reduction': 1},
    'MIMOUNet': {'base_channel': 4, 'num_res': 1},
    'MIMOUNetPlus': {'base_channel': 4, 'num_res': 2},
    'PReNet': PRENET_TINY,
    'PReNet_r': PRENET_TINY,
    'PRN': PRENET_TINY,
    'PRN_r': PRENET_TINY,
    'DnCNN': {**COLOUR, 'nc': 4, 'nb': 4},
    'FFDNet': {**COLOUR, 'nc': 8, 'nb': 4},
    'RCAN': {'scale': 1, 'n_resgroups': 1, 'n_resblocks': 2, 'n_feats': 8, 'reduction': 2},
}
