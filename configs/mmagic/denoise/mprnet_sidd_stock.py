# MPRNet on SIDD: patches of 128, no edge loss; 80 epochs of 6,000 iterations, 3 of them warm-up, the cosine one over
# 117 epochs, cut off. Ours: patches from sub-images of 512, theirs from 300 random ones of 256 an image; no mixup of
# training pairs; outputs are not clamped before the loss.
_base_ = ['../_base_/sidd.py', '../_base_/mprnet.py']
experiment_name = 'mprnet_sidd'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    generator=dict(n_feat=80, scale_unetfeats=48, scale_orsnetfeats=32),
    pixel_loss=dict(criteria=[dict(type='CharbonnierLoss', eps=1e-6)]),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-8))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.001, begin=0, end=18_000),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=18_000, end=720_000, T_max=702_000, eta_min=1e-6),
]
train_cfg = dict(max_iters=480_000)
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=128),
    *_base_.turn,
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_base_.train_data))
