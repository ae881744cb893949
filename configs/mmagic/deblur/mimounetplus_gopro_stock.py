# MIMO-UNet+ on GoPro.
_base_ = './mimounet_gopro_stock.py'
experiment_name = 'mimounetplus_gopro'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(type='MIMOUNetPlus', num_res=20))
