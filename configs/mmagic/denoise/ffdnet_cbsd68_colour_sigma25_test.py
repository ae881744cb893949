# Tests the published color FFDNet at sigma 25 on CBSD68: 31.21 dB. Each image gets the noise of np.random.seed(0).
_base_ = ['mmagic::_base_/default_runtime.py', '../_base_/dfwb.py']
custom_imports = dict(imports=['sapd_plugin.mmagic'])
experiment_name = 'ffdnet_cbsd68_colour_sigma25_test'
work_dir = f'./work_dirs/{experiment_name}'
custom_hooks = [dict(type='PublishedCheckpointHook')]

model = dict(
    type='BaseEditModel',
    generator=dict(type='FFDNet', in_nc=3, out_nc=3, nc=96, nb=12, sigma=25),
    pixel_loss=dict(type='L1Loss'),
    train_cfg=dict(),
    test_cfg=dict(),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
test_evaluator = [
    dict(type=f'Protocol{metric}', protocol='rgb', quantise=quantise, prefix=f'rgb/{quantise}')
    for metric in ('PSNR', 'SSIM')
    for quantise in ('round', 'none')
]
