# FFDNet, color denoising at sigma 25, on DFWB for the authors' BSD, WED and ImageNet photos. Another noise level: see
# _base_/dfwb.py, and model.generator.sigma.
_base_ = ['../_base_/dfwb.py', '../_base_/ffdnet.py']
experiment_name = 'ffdnet_dfwb'
work_dir = f'./work_dirs/{experiment_name}'

train_pipeline = [*_base_.train_pipeline[:-1], _base_.train_noise, dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_base_.train_data))
