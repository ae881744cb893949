# MPRNet on GoPro: whole images, 3,000 epochs of 132 iterations, 3 of them warm-up.
_base_ = ['../_base_/gopro.py', '../_base_/mprnet.py']
experiment_name = 'mprnet_gopro'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(n_feat=96, scale_unetfeats=48, scale_orsnetfeats=32))
train_dataloader = dict(dataset=dict(_base_.train_data, data_prefix=dict(img='input', gt='target')))
