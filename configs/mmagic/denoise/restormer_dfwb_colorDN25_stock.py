# Restormer, colour denoising at sigma 25, on DFWB.
_base_ = ['mmagic::restormer/restormer_official_dfwb-color-sigma25.py', '../restormer_training.py']
experiment_name = 'restormer_dfwb_colorDN25'
work_dir = f'./work_dirs/{experiment_name}'

# On the scale of the images, 0-255, on which RandomNoise works. MMagic's own file asks for 255 times as much.
noise = dict(
    type='RandomNoise',
    params=dict(noise_type=['gaussian'], noise_prob=[1], gaussian_sigma=[25, 25], gaussian_gray_noise_prob=0),
    keys=['img'],
)
train_dataloader = dict(
    dataset=dict(
        ann_file='meta_info_DFWB8550sub_GT.txt',
        metainfo=dict(dataset_type='dfwb', task_name='denoising'),
        data_root='data/DFWB',
        data_prefix=dict(img='', gt=''),
        pipeline=[*_base_.train_pipeline[:-1], noise, dict(type='PackInputs')],
    )
)
test_dataloader = _base_.test_dataloader
for dataloader in test_dataloader:
    dataloader['dataset']['pipeline'][2] = noise
val_dataloader = test_dataloader
val_evaluator = _base_.test_evaluator
default_hooks = dict(checkpoint=dict(save_best='CBSD68/PSNR'))
