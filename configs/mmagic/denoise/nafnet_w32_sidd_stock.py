# NAFNet of width 32 on SIDD: without flips and without weight decay.
_base_ = ['../_base_/sidd.py', '../_base_/nafnet.py']
experiment_name = 'nafnet_w32_sidd'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(enc_blk_nums=[2, 2, 4, 8], middle_blk_num=12, dec_blk_nums=[2, 2, 2, 2]))
optim_wrapper = dict(optimizer=dict(weight_decay=0))
train_pipeline = [
    *_base_.load_pair,
    dict(type='PairedRandomCrop', gt_patch_size=256),
    dict(type='PackInputs'),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_base_.train_data))
