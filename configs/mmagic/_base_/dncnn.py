# How DnCNN is trained (Zhang et al., "Beyond a Gaussian Denoiser", TIP 2017): TrainingCodes/DnCNN_TrainingCodes_v1.0
# of github.com/cszn/DnCNN, one GPU, Adam: 30 epochs at 1e-3, 20 at 1e-4. The color network, with the paper's 3,000
# iterations an epoch and patches of 50.
_base_ = './runtime.py'

model = dict(
    generator=dict(type='DnCNN', in_nc=3, out_nc=3, nc=64, nb=20, act_mode='BR'),
    pixel_loss=dict(type='MSELoss'),
)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-3, betas=(0.9, 0.999)),
)
param_scheduler = dict(type='MultiStepLR', by_epoch=False, milestones=[90_000], gamma=0.1)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=150_000, val_interval=5_000)
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=50),
    *_base_.turn,
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=train_pipeline))
