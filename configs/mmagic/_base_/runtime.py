# What every training here shares, beside its network, its protocol and its data set.
_base_ = 'mmagic::_base_/default_runtime.py'
custom_imports = dict(imports=['sapd_plugin.mmagic'])

load_pair = [
    dict(type='LoadImageFromFile', key='img', color_type='color', channel_order='rgb', imdecode_backend='cv2'),
    dict(type='LoadImageFromFile', key='gt', color_type='color', channel_order='rgb', imdecode_backend='cv2'),
    dict(type='SetValues', dictionary=dict(scale=1)),
]
flip = dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='horizontal')
turn = [
    flip,
    dict(type='Flip', keys=['img', 'gt'], flip_ratio=0.5, direction='vertical'),
    dict(type='RandomTransposeHW', keys=['img', 'gt'], transpose_ratio=0.5),
]
train_dataloader = dict(
    num_workers=8,
    persistent_workers=False,
    sampler=dict(type='InfiniteSampler', shuffle=True),
    dataset=dict(type='BasicImageDataset'),
)
model = dict(
    type='BaseEditModel',
    train_cfg=dict(),
    test_cfg=dict(),
    data_preprocessor=dict(type='DataPreprocessor', mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
# Pictures of one image in a hundred: MMagic's default writes them for every image of every validation.
custom_hooks = [dict(type='BasicVisualizationHook', interval=100)]
