# MIMO-UNet on GoPro: whole images.
_base_ = ['../_base_/gopro.py', '../_base_/mimounet.py']
experiment_name = 'mimounet_gopro'
work_dir = f'./work_dirs/{experiment_name}'

train_dataloader = dict(dataset=dict(_base_.train_data, data_prefix=dict(img='input', gt='target')))
