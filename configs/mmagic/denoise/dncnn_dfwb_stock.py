# DnCNN, color denoising on DFWB for the authors' 432 photos: one network for the noise levels 0 to 55 (CDnCNN-B).
_base_ = ['../_base_/dfwb.py', '../_base_/dncnn.py']
experiment_name = 'dncnn_dfwb'
work_dir = f'./work_dirs/{experiment_name}'

train_pipeline = [*_base_.train_pipeline[:-1], dict(type='GaussianNoise', sigma=[0, 55]), dict(type='PackInputs')]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **_base_.train_data))
