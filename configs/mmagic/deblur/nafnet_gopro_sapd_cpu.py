# NAFNet on GoPro with SAM priors, at a size for two CPU cores.
_base_ = './nafnet_gopro_sapd.py'
experiment_name = 'sapd_nafnet_c8_gopro_cpu'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(mid_channels=8, enc_blk_nums=[1, 1], middle_blk_num=1, dec_blk_nums=[1, 1]))
train_pipeline = _base_.train_dataloader.dataset.pipeline
train_pipeline[6]['gt_patch_size'] = 64
train_dataloader = dict(num_workers=1, batch_size=2, dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', by_epoch=False, T_max=300, eta_min=1e-6)
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=10))
