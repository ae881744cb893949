# Validation and test on pairs of images with the same file names; a data set's file adds where they are.
eval_dataloader = dict(
    num_workers=4,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='BasicImageDataset',
        data_prefix=dict(img='input', gt='target'),
        pipeline=[
            dict(type='LoadImageFromFile', key='img', color_type='color', channel_order='rgb', imdecode_backend='cv2'),
            dict(type='LoadImageFromFile', key='gt', color_type='color', channel_order='rgb', imdecode_backend='cv2'),
            dict(type='PackInputs'),
        ],
    ),
)
val_dataloader = eval_dataloader
test_dataloader = eval_dataloader
val_cfg = dict(type='MultiValLoop')
test_cfg = dict(type='MultiTestLoop')
