# Restormer on GoPro.
_base_ = ['../_base_/gopro.py', '../_base_/restormer.py']
experiment_name = 'restormer_gopro'
work_dir = f'./work_dirs/{experiment_name}'

train_dataloader = dict(dataset=_base_.train_data)
