# How HINet is trained (Chen et al., "HINet: Half Instance Normalization Network for Image Restoration", CVPR workshops
# 2021): options/train of github.com/megvii-model/HINet, on 8 GPUs. The loss is summed over both stages.
_base_ = './runtime.py'

model = dict(
    generator=dict(type='HINet', in_chn=3, wf=64, depth=5, relu_slope=0.2, hin_position_left=0, hin_position_right=4),
    pixel_loss=dict(type='MultiOutputLoss', criteria=dict(type='PSNRLoss', loss_weight=0.5)),
)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-4, betas=(0.9, 0.99)),
    clip_grad=dict(max_norm=0.01),
)
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, T_max=400_000, eta_min=1e-7)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=400_000, val_interval=20_000)
default_hooks = dict(checkpoint=dict(interval=20000))
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=256),
    *_base_.turn,
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=8, dataset=dict(pipeline=train_pipeline))
