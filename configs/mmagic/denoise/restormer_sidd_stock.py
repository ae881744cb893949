# Restormer on SIDD.
_base_ = ['../_base_/sidd.py', '../_base_/restormer.py']
experiment_name = 'restormer_sidd'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(LayerNorm_type='BiasFree'))
train_dataloader = dict(dataset=_base_.train_data)
