# PReNet on Rain100L: 100 epochs of 334 iterations, their 6,000 patches, 15 of each of the 200 photos and their mirror
# images. PReNet_r, PRN and PRN_r train alike: another type of generator.
_base_ = ['../_base_/rain100l.py', '../_base_/prenet.py']
experiment_name = 'prenet_rain100l'
work_dir = f'./work_dirs/{experiment_name}'

param_scheduler = dict(milestones=[10_020, 16_700, 26_720])
train_cfg = dict(max_iters=33_400)
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=100),
    _base_.flip,
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_base_.train_data))
