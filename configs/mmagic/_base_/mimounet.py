# How MIMO-UNet is trained (Cho et al., "Rethinking Coarse-to-Fine Approach in Single Image Deblurring", ICCV 2021):
# main.py and train.py of github.com/chosj95/MIMO-UNet, one GPU, 3,000 epochs of 526 iterations. The loss is summed over
# three scales.
_base_ = './runtime.py'

model = dict(
    generator=dict(type='MIMOUNet', num_res=8),
    pixel_loss=dict(
        type='MultiOutputLoss', criteria=[dict(type='L1Loss'), dict(type='FrequencyLoss', loss_weight=0.1)]
    ),
)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999)),
)
param_scheduler = dict(
    type='MultiStepLR', by_epoch=False, milestones=[263_000, 526_000, 789_000, 1_052_000, 1_315_000], gamma=0.5
)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1_578_000, val_interval=52_600)
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=256),
    _base_.flip,
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=4, dataset=dict(pipeline=train_pipeline))
