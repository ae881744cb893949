# NAFNet of width 64 on GoPro: twice the width, batch and iterations of width 32.
_base_ = './nafnet_w32_gopro_stock.py'
experiment_name = 'nafnet_w64_gopro'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(generator=dict(mid_channels=64))
train_dataloader = dict(batch_size=8)
param_scheduler = dict(T_max=400_000)
train_cfg = dict(max_iters=400_000)
