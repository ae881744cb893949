"""The small stock config of the tests, as MMEngine's configs in pure Python are written."""

# ruff: noqa: C408

from mmagic.datasets import BasicImageDataset
from mmagic.datasets.transforms import LoadImageFromFile, PackInputs, PairedRandomCrop, SetValues
from mmagic.engine.runner import MultiValLoop
from mmagic.evaluation import PSNR
from mmagic.models.base_models import BaseEditModel
from mmagic.models.data_preprocessors import DataPreprocessor
from mmagic.models.editors.nafnet.nafnet_net import NAFNet
from mmagic.models.losses import L1Loss
from mmengine.dataset import DefaultSampler, InfiniteSampler
from mmengine.hooks import CheckpointHook
from mmengine.optim import OptimWrapper
from mmengine.runner import IterBasedTrainLoop
from torch.optim import Adam

default_scope = 'mmagic'
model = dict(
    type=BaseEditModel,
    generator=dict(type=NAFNet, img_channels=3, mid_channels=8, enc_blk_nums=[1], middle_blk_num=1, dec_blk_nums=[1]),
    pixel_loss=dict(type=L1Loss, loss_weight=1.0, reduction='mean'),
    data_preprocessor=dict(type=DataPreprocessor, mean=[0.0, 0.0, 0.0], std=[255.0, 255.0, 255.0]),
)
train_pipeline = [
    dict(type=LoadImageFromFile, key='img', channel_order='rgb'),
    dict(type=LoadImageFromFile, key='gt', channel_order='rgb'),
    dict(type=SetValues, dictionary=dict(scale=1)),
    dict(type=PairedRandomCrop, gt_patch_size=48),
    dict(type=PackInputs),
]
val_pipeline = [
    dict(type=LoadImageFromFile, key='img', channel_order='rgb'),
    dict(type=LoadImageFromFile, key='gt', channel_order='rgb'),
    dict(type=PackInputs),
]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type=InfiniteSampler, shuffle=True),
    dataset=dict(
        type=BasicImageDataset,
        data_root='PAIRS',
        data_prefix=dict(img='rainy', gt='clean'),
        metainfo=dict(dataset_type='x', task_name='derain'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type=DefaultSampler, shuffle=False),
    dataset=dict(
        type=BasicImageDataset,
        data_root='PAIRS',
        data_prefix=dict(img='rainy', gt='clean'),
        metainfo=dict(dataset_type='x', task_name='derain'),
        pipeline=val_pipeline,
    ),
)
val_evaluator = [dict(type=PSNR)]
val_cfg = dict(type=MultiValLoop)
train_cfg = dict(type=IterBasedTrainLoop, max_iters=4, val_interval=4)
optim_wrapper = dict(
    constructor='DefaultOptimWrapperConstructor', type=OptimWrapper, optimizer=dict(type=Adam, lr=1e-3)
)
default_hooks = dict(checkpoint=dict(type=CheckpointHook, interval=4, by_epoch=False))
