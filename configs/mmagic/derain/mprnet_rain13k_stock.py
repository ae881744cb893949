# MPRNet on Rain13K: 250 epochs of 857 iterations, 3 of them warm-up.
_base_ = ['../_base_/rain13k.py', '../_base_/mprnet.py']
experiment_name = 'mprnet_rain13k'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(n_feat=40, scale_unetfeats=20, scale_orsnetfeats=16))
param_scheduler = [
    dict(type='LinearLR', by_epoch=False, start_factor=0.001, begin=0, end=2_571),
    dict(type='CosineAnnealingLR', by_epoch=False, begin=2_571, end=214_250, T_max=211_679, eta_min=1e-6),
]
train_cfg = dict(max_iters=214_250)
train_dataloader = dict(dataset=_base_.train_data)
