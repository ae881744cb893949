"""What the tests of the networks share: published sizes, and settings small enough to train in a test.

A network that joins NETWORKS gets a line in TINY, and in PUBLISHED one for each size that a paper or a repository names.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Published(NamedTuple):
    name: str
    settings: dict[str, Any]
    parameters: int  # all of them, exactly
    macs: float  # multiply-adds of convolutions and matrix products, in 10^9
    size: tuple[int, int, int]  # C, H, W of the input that they are counted for
    tolerance: float  # relative, of macs: published figures are rounded, and some count more than products
    source: str


GOPRO = {'enc_blk_nums': [1, 1, 1, 28], 'middle_blk_num': 1, 'dec_blk_nums': [1, 1, 1, 1]}
SIDD = {'enc_blk_nums': [2, 2, 4, 8], 'middle_blk_num': 12, 'dec_blk_nums': [2, 2, 2, 2]}
COLOUR = {'in_nc': 3, 'out_nc': 3}
# Products at each pixel and stage of PReNet: f_in, the four gates, ten convolutions, f_out (its Sec. 3.2, Fig. 2 and 3).
IN, GATES, BLOCKS, OUT = 9 * 6 * 32, 4 * 9 * 64 * 32, 10 * 9 * 32 * 32, 9 * 32 * 3
PIXELS = 256 * 256
PRENET = 'parameters: its published checkpoint; products: by hand from the layers that the paper lists, six stages'
NAFNET = "parameters: the authors' code (github.com/megvii-research/NAFNet), counted; MACs: the paper, "

# What counters of papers leave out: the two products in each block of Restormer's attention, 2 * C * C / heads a pixel
# (its Sec. 3.1), of (blocks, pixels, C, heads).
LEVELS = [(4, 1, 48, 1), (8, 1, 96, 1), (12, 4, 96, 2), (12, 16, 192, 4), (8, 64, 384, 8)]
ATTENTION = sum(blocks * PIXELS / shrunk * 2 * width * width / heads for blocks, shrunk, width, heads in LEVELS) / 1e9
# And what they count too often: a transposed convolution of stride 2 has as many products as its input has pixels, and
# they take its output's, four times as many. HINet has eight with 128 * 64 * PIXELS products each, MIMO-UNet two.
HINET_EXCESS = 3 * 8 * 128 * 64 * PIXELS / 1e9
MIMO_EXCESS = 3 * 16 * (128 * 64 / 16 + 64 * 32 / 4) * PIXELS / 1e9
RESTORMER = "parameters: the authors' code (github.com/swz30/Restormer), counted; MACs: the paper, 140.99 G"
MPRNET = "parameters: the authors' code (github.com/swz30/MPRNet), counted; MACs: HINet's 170.7 G are, by its README, "
MIMO = "parameters: the authors' code (github.com/chosj95/MIMO-UNet), counted, the paper has "

PUBLISHED = [
    Published('NAFNet', {'width': 32, **GOPRO}, 17_111_907, 16, (3, 256, 256), 0.01, NAFNET + 'Sec. 3, 16 G'),
    Published('NAFNet', {'width': 32, **SIDD}, 29_159_715, 16, (3, 256, 256), 0.01, NAFNET + 'Sec. 3, 16 G'),
    # Its counter adds biases, norms and pooling to the products.
    Published(
        'NAFNet', {'width': 64, **GOPRO}, 67_888_835, 65, (3, 256, 256), 0.035, NAFNET + 'tables of results, 65 G'
    ),
    Published('NAFNetLocal', {'width': 64, **GOPRO}, 67_888_835, 65, (3, 256, 256), 0.035, NAFNET + 'as NAFNet'),
    Published('Restormer', {}, 26_126_644, 140.99 + ATTENTION, (3, 256, 256), 1e-4, RESTORMER),
    Published(
        'HINet',
        {},
        88_669_702,
        170.7 - HINET_EXCESS,
        (3, 256, 256),
        0.002,
        "parameters: the authors' code (github.com/megvii-model/HINet), counted; MACs: the paper, 170.7 G",
    ),
    Published('MPRNet', {}, 20_127_073, 170.7 / 0.225, (3, 256, 256), 0.003, MPRNET + '22.5 % of this, for deblurring'),
    Published(
        'MPRNet', {'n_feat': 80}, 15_741_025, 170.7 / 0.30, (3, 256, 256), 0.01, MPRNET + '30 % of this, for denoising'
    ),
    Published(
        'MIMOUNet',
        {},
        6_807_171,
        67.17 - MIMO_EXCESS,
        (3, 256, 256),
        0.005,
        MIMO + '6.8 M; MACs: as later papers list them, 67.17 G',
    ),
    Published(
        'MIMOUNetPlus',
        {},
        16_107_651,
        154.41 - MIMO_EXCESS,
        (3, 256, 256),
        0.005,
        MIMO + '16.1 M; MACs: as later papers list them, 154.41 G',
    ),
    Published('PReNet', {}, 168_963, PIXELS * 6 * (IN + GATES + BLOCKS + OUT) / 1e9, (3, 256, 256), 1e-6, PRENET),
    Published('PReNet_r', {}, 94_979, PIXELS * 6 * (IN + GATES + BLOCKS + OUT) / 1e9, (3, 256, 256), 1e-6, PRENET),
    Published('PRN', {}, 95_107, PIXELS * 6 * (IN + BLOCKS + OUT) / 1e9, (3, 256, 256), 1e-6, PRENET),
    Published('PRN_r', {}, 21_123, PIXELS * 6 * (IN + BLOCKS + OUT) / 1e9, (3, 256, 256), 1e-6, PRENET),
    Published(
        'DnCNN',
        {'act_mode': 'R'},
        555_137,
        PIXELS * 9 * (2 * 64 + 15 * 64 * 64) / 1e9,
        (1, 256, 256),
        1e-6,
        'parameters: the published checkpoint, sigma 25; products: by hand, 17 layers of 64 channels (Sec. III-B)',
    ),
    Published(
        'FFDNet',
        {},
        485_316,
        PIXELS / 4 * 9 * (5 * 64 + 13 * 64 * 64 + 64 * 4) / 1e9,
        (1, 256, 256),
        1e-6,
        "parameters: the authors' code (github.com/cszn/KAIR), counted; products: by hand, 15 layers of 64 (Sec. III)",
    ),
    Published(
        'FFDNet',
        {**COLOUR, 'nc': 96, 'nb': 12},
        852_108,
        PIXELS / 4 * 9 * (13 * 96 + 10 * 96 * 96 + 96 * 12) / 1e9,
        (3, 256, 256),
        1e-6,
        'parameters: the published checkpoint; products: by hand, 12 layers of 96 channels (Sec. III)',
    ),
    Published(
        'RCAN',
        {'scale': 4},
        15_592_379,
        916.9,
        (3, 180, 320),
        0.001,
        "parameters: the authors' code (github.com/yulunzhang/RCAN), counted, 24 of them in the fixed shift of the "
        'mean; multi-adds: as later papers list them for an output of 1280x720',
    ),
    Published(
        'RCAN',
        {'scale': 2},
        15_444_667,
        230_400 * 9 * (3 * 64 + 411 * 64 * 64 + 4 * 64 * 64 + 4 * 64 * 3) / 1e9,
        (3, 360, 640),
        1e-4,  # channel attention works on one pixel
        'parameters: as for scale 4; products: by hand, 10 groups of 20 blocks of two convolutions (Sec. 3, 4.1)',
    ),
]

NAFNET_TINY = {'width': 4, 'enc_blk_nums': [1, 1], 'middle_blk_num': 1, 'dec_blk_nums': [1, 1]}
PRENET_TINY = {'recurrent_iter': 2, 'width': 4}
TINY: dict[str, dict[str, Any]] = {
    'NAFNet': NAFNET_TINY,
    'NAFNetLocal': {**NAFNET_TINY, 'train_size': [24, 24]},
    'Restormer': {'dim': 8, 'num_blocks': [1, 1, 1, 1], 'num_refinement_blocks': 1, 'heads': [1, 1, 2, 2]},
    'HINet': {'wf': 4, 'depth': 3},
    # With fewer channels inside its attention, ReLUs there are dead by chance.
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
