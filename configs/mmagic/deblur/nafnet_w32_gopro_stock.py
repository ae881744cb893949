# NAFNet of width 32 on GoPro. Its pooling is local for testing (TLC), as the authors'.
_base_ = ['../_base_/gopro.py', '../_base_/nafnet.py']
experiment_name = 'nafnet_w32_gopro'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    generator=dict(type='NAFNetLocal', enc_blk_nums=[1, 1, 1, 28], middle_blk_num=1, dec_blk_nums=[1, 1, 1, 1])
)
train_dataloader = dict(dataset=_base_.train_data)
