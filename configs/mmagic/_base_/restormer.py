# How Restormer is trained (Zamir et al., "Restormer: Efficient Transformer for High-Resolution Image Restoration", CVPR
# 2022): the Options of github.com/swz30/Restormer, on 8 GPUs. MMagic ships its test configs alone.
#
# Ours: patches of 128 throughout, which their files give as the alternative to patches growing from 128 to 384 (go on
# with larger ones by load_from); no mixup of training pairs, which they use for denoising.
_base_ = './runtime.py'

model = dict(
    generator=dict(
        type='Restormer',
        inp_channels=3,
        out_channels=3,
        dim=48,
        num_blocks=[4, 6, 6, 8],
        num_refinement_blocks=4,
        heads=[1, 2, 4, 8],
        ffn_expansion_factor=2.66,
        bias=False,
        LayerNorm_type='WithBias',
        dual_pixel_task=False,
    ),
    pixel_loss=dict(type='L1Loss', loss_weight=1.0, reduction='mean'),
)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=3e-4, weight_decay=1e-4, betas=(0.9, 0.999)),
    clip_grad=dict(max_norm=0.01),
)
param_scheduler = [
    dict(type='ConstantLR', factor=1.0, by_epoch=False, begin=0, end=92_000),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=92_000, end=300_000, T_max=208_000, eta_min=1e-6),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=300_000, val_interval=4_000)
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=128),
    *_base_.turn,
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
