# HINet on GoPro.
_base_ = ['../_base_/gopro.py', '../_base_/hinet.py']
experiment_name = 'hinet_gopro'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(hin_position_left=3))
train_dataloader = dict(dataset=_base_.train_data)
