# How PReNet and its relatives are trained (Ren et al., "Progressive Image Deraining Networks: A Better and Simpler
# Baseline", CVPR 2019): train_PReNet.py of github.com/csdwren/PReNet, one GPU, 100 epochs, here of 1,500 iterations;
# negative SSIM. Ours: patches at random places, theirs on a grid of stride 80.
_base_ = './runtime.py'

model = dict(
    generator=dict(type='PReNet', recurrent_iter=6),
    pixel_loss=dict(type='SSIMLoss'),
)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.999)),
)
param_scheduler = dict(type='MultiStepLR', by_epoch=False, milestones=[45_000, 75_000, 120_000], gamma=0.2)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=150_000, val_interval=5_000)
train_pipeline = [*_base_.load_pair, dict(type='PairedRandomCrop', gt_patch_size=100), dict(type='PackInputs')]
train_dataloader = dict(batch_size=18, dataset=dict(pipeline=train_pipeline))
