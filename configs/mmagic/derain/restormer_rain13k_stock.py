# Restormer on Rain13K.
_base_ = ['../_base_/rain13k.py', '../_base_/restormer.py']
experiment_name = 'restormer_rain13k'
work_dir = f'./work_dirs/{experiment_name}'

train_dataloader = dict(dataset=_base_.train_data)
