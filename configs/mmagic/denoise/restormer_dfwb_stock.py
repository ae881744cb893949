# Restormer, color denoising at sigma 25, on DFWB.
_base_ = ['../_base_/dfwb.py', '../_base_/restormer.py']
experiment_name = 'restormer_dfwb'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(LayerNorm_type='BiasFree'))
train_pipeline = [*_base_.train_pipeline[:-1], _base_.train_noise, dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_base_.train_data))
