# Tests the published DnCNN for sigma 25 on grey BSD68: 29.23 dB. Each image gets the noise of np.random.seed(0).
_base_ = ['mmagic::_base_/default_runtime.py', '../_base_/bsd400.py']
custom_imports = dict(imports=['sapd_plugin.mmagic'])
experiment_name = 'dncnn_cbsd68_grey_sigma25_test'
work_dir = f'./work_dirs/{experiment_name}'
custom_hooks = [dict(type='PublishedCheckpointHook')]

model = dict(
    type='BaseEditModel',
    generator=dict(type='DnCNN', nb=17, act_mode='R'),
    pixel_loss=dict(type='L1Loss'),
    train_cfg=dict(),
    test_cfg=dict(),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0], std=[255.0]),
)
test_dataloader = dict(dataset=dict(data_root='datasets/CBSD68/test'))
test_evaluator = [
    dict(type=f'Protocol{metric}', protocol='gray', quantise=quantise, prefix=f'gray/{quantise}')
    for metric in ('PSNR', 'SSIM')
    for quantise in ('round', 'none')
]
