# Tests the checkpoint that PReNet's authors publish for Rain100L: 37.48 dB. They cast to uint8, which is to floor.
_base_ = 'mmagic::_base_/default_runtime.py'
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
test_pipeline = [
    dict(type='LoadImageFromFile', key='img', color_type='color', channel_order='rgb', imdecode_backend='cv2'),
    dict(type='LoadImageFromFile', key='gt', color_type='color', channel_order='rgb', imdecode_backend='cv2'),
    dict(type='PackInputs'),
]
test_dataloader = dict(
    num_workers=1,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BasicImageDataset',
        metainfo=dict(dataset_type='Rain100L', task_name='derain'),
        data_root='datasets/Rain100L/test',
        data_prefix=dict(img='input', gt='target'),
        pipeline=test_pipeline,
    ),
)
test_evaluator = [
    dict(type=f'Protocol{metric}', protocol=protocol, quantise=quantise, prefix=f'{protocol}/{quantise}')
    for metric in ('PSNR', 'SSIM')
    for protocol, quantise in (('y', 'floor'), ('y_rounded', 'floor'), ('rgb', 'floor'), ('y', 'round'))
]
test_cfg = dict(type='MultiTestLoop')
