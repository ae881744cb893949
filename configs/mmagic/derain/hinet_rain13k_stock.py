# HINet on Rain13K, with 10,000 iterations of warm-up.
_base_ = ['../_base_/rain13k.py', '../_base_/hinet.py']
experiment_name = 'hinet_rain13k'
work_dir = f'./work_dirs/{experiment_name}'

param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.0001, begin=0, end=10_000),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=10_000, end=400_000, T_max=390_000, eta_min=1e-7),
]
train_dataloader = dict(dataset=_base_.train_data)
