# How MPRNet is trained (Zamir et al., "Multi-Stage Progressive Image Restoration", CVPR 2021): train.py and
# training.yml of the three tasks in github.com/swz30/MPRNet, one batch of 16 on 4 GPUs: here one process with 16, or 4
# with 4 each. The loss is summed over the three stages. Ours: no random change of saturation (derain, deblur).
_base_ = './runtime.py'

model = dict(
    generator=dict(type='MPRNet', in_c=3, out_c=3, num_cab=8),
    pixel_loss=dict(
        type='MultiOutputLoss',
        criteria=[dict(type='CharbonnierLoss', eps=1e-6), dict(type='EdgeLoss', loss_weight=0.05)],
    ),
)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-4, betas=(0.9, 0.999)),
)
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.001, begin=0, end=396),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=396, end=396_000, T_max=395_604, eta_min=1e-6),
]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=396_000, val_interval=5_000)
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=256),
    *_base_.turn,
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=16, dataset=dict(pipeline=train_pipeline))
