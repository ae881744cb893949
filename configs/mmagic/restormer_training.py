# How Restormer is trained: AdamW, 300k iterations, L1, gradients clipped. MMagic ships its test configs alone.
#
# The authors train progressively, from patches of 128 to patches of 384. Here the patch stays at 128, their first and
# longest stage; go on with larger ones by load_from.
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
train_cfg = dict(type='IterBasedTrainLoop', max_iters=300_000, val_interval=5_000)
val_cfg = dict(type='MultiValLoop')

train_pipeline = [
    dict(type='LoadImageFromFile', key='img', color_type='color', channel_order='rgb', imdecode_backend='cv2'),
    dict(type='LoadImageFromFile', key='gt', color_type='color', channel_order='rgb', imdecode_backend='cv2'),
    dict(type='SetValues', dictionary=dict(scale=1)),
    dict(type='PairedRandomCrop', gt_patch_size=128),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal'),
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    num_workers=8,
    batch_size=8,  # 8 GPUs
    persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='BasicImageDataset', pipeline=train_pipeline),
)
