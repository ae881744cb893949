# How NAFNet is trained (Chen et al., "Simple Baselines for Image Restoration", ECCV 2022): options/train of
# github.com/megvii-research/NAFNet, at width 32 on 8 GPUs.
_base_ = './runtime.py'

model = dict(
    generator=dict(type='NAFNet', img_channels=3, mid_channels=32),
    pixel_loss=dict(type='PSNRLoss'),
)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3, weight_decay=1e-3, betas=(0.9, 0.9)),
    clip_grad=dict(max_norm=0.01),
)
param_scheduler = dict(type='CosineAnnealingLR', by_epoch=False, T_max=200_000, eta_min=1e-7)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=200_000, val_interval=20_000)
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=256),
    *_base_.turn,
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
