# How FFDNet is trained (Zhang et al., "FFDNet: Toward a Fast and Flexible Solution for CNN based Image Denoising",
# TIP 2018): options/train_ffdnet.json of github.com/cszn/KAIR, by its authors, one GPU; the color network of the
# paper. Ours: one noise level for their 0 to 75, because the frameworks give a network the image alone; an end,
# theirs is open.
_base_ = './runtime.py'

model = dict(
    generator=dict(type='FFDNet', in_nc=3, out_nc=3, nc=96, nb=12, act_mode='R', sigma=25),
    pixel_loss=dict(type='L1Loss', loss_weight=1.0, reduction='mean'),
)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor',
    type='OptimWrapper',
    optimizer=dict(type='Adam', lr=1e-4, betas=(0.9, 0.999)),
)
param_scheduler = dict(type='MultiStepLR', by_epoch=False, milestones=[200_000, 400_000, 600_000, 800_000], gamma=0.5)
train_cfg = dict(type='IterBasedTrainLoop', max_iters=1_000_000, val_interval=5_000)
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=64),
    *_base_.turn,
    dict(type='PackInputs'),
]
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
