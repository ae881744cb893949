# SwinIR, color denoising at sigma 25, with SAM priors, at a size for two CPU cores.
_base_ = './swinir_dfwb_colorDN25_sapd.py'
experiment_name = 'sapd_swinir_e24_dfwb_colorDN25_cpu'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(img_size=64, depths=[2, 2], embed_dim=24, num_heads=[2, 2]))
train_pipeline = _base_.train_dataloader.dataset.pipeline
train_pipeline[3]['gt_patch_size'] = 64
train_dataloader = dict(num_workers=1, batch_size=2, dataset=dict(pipeline=train_pipeline))
train_cfg = dict(max_iters=300, val_interval=300)
param_scheduler = dict(_delete_=True, type='CosineAnnealingLR', by_epoch=False, T_max=300, eta_min=1e-6)
default_hooks = dict(checkpoint=dict(interval=100), logger=dict(interval=10))
