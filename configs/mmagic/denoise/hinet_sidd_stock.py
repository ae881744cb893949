# HINet on SIDD: L1 for the PSNR loss.
_base_ = ['../_base_/sidd.py', '../_base_/hinet.py']
experiment_name = 'hinet_sidd'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(pixel_loss=dict(criteria=dict(_delete_=True, type='L1Loss')))
optim_wrapper = dict(optimizer=dict(betas=(0.9, 0.999)))
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=False, T_max=400_000, eta_min=1e-6)]
train_dataloader = dict(dataset=_base_.train_data)
