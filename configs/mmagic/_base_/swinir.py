# How SwinIR is trained (Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCV workshops 2021) for
# color denoising: options/swinir/train_swinir_denoising_color.json of github.com/cszn/KAIR, on 8 GPUs. Their sigma
# 25 and 50 start from sigma 15 and take half of it; from scratch, as here, is as good, they say.
_base_ = './runtime.py'

model = dict(
    generator=dict(
        type='SwinIRNet',
        upscale=1,
        in_chans=3,
        img_size=128,
        window_size=8,
        img_range=1.0,
        depths=[6, 6, 6, 6, 6, 6],
        embed_dim=180,
        num_heads=[6, 6, 6, 6, 6, 6],
        mlp_ratio=2,
        upsampler='',
        resi_connection='1conv',
    ),
    pixel_loss=dict(type='CharbonnierLoss', eps=1e-9),
)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=2e-4, betas=(0.9, 0.999)),
)
param_scheduler = dict(
    type='MultiStepLR',
    by_epoch=False,
    milestones=[800_000, 1_200_000, 1_400_000, 1_500_000, 1_600_000],
    gamma=0.5,
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1_600_000, val_interval=5_000)
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=128),
    *_base_.turn,
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=1, dataset=dict(pipeline=train_pipeline))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.001, priority='NORMAL'),
]
