# DnCNN, grey denoising at sigma 25, on BSD400: 1,600 iterations an epoch, as the paper has. Ours: no rescaled copies of
# the photos.
_base_ = ['../_base_/bsd400.py', '../_base_/dncnn.py']
experiment_name = 'dncnn_bsd400'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(in_nc=1, out_nc=1, nb=17), data_preprocessor=dict(mean=[0.0], std=[255.0]))
param_scheduler = dict(milestones=[48_000])
train_cfg = dict(max_iters=80_000)
train_pipeline = [
    *_base_.load_pair,
    _base_.gray,
    dict(type='PairedRandomCrop', gt_patch_size=40),
    *_base_.turn,
    _base_.train_noise,
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_base_.train_data))
