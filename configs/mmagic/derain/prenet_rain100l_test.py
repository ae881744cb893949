# Tests the checkpoint that PReNet's authors publish for Rain100L: 37.48 dB. They cast to uint8, which is to floor.
_base_ = ['mmagic::_base_/default_runtime.py', '../_base_/rain100l.py']
custom_imports = dict(imports=['sapd_plugin.mmagic'])
experiment_name = 'prenet_rain100l_test'
work_dir = f'./work_dirs/{experiment_name}'
custom_hooks = [dict(type='PublishedCheckpointHook')]

model = dict(
    type='BaseEditModel',
    generator=dict(type='PReNet', recurrent_iter=6),
    pixel_loss=dict(type='L1Loss'),
    train_cfg=dict(),
    test_cfg=dict(),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
test_evaluator = [
    dict(type=f'Protocol{metric}', protocol=protocol, quantise=quantise, prefix=f'{protocol}/{quantise}')
    for metric in ('PSNR', 'SSIM')
    for protocol, quantise in (('y', 'floor'), ('y_rounded', 'floor'), ('rgb', 'floor'), ('y', 'round'))
]
