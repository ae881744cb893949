# GoPro: training on sub-images, test on whole ones.
_base_ = './pairs.py'

train_data = dict(
    metainfo=dict(dataset_type='GoPro', task_name='deblurring'),
    data_root='datasets/GoPro/train',
    data_prefix=dict(img='input_sub', gt='target_sub'),
)
val_dataloader = dict(
    dataset=dict(metainfo=dict(dataset_type='GoPro', task_name='deblurring'), data_root='datasets/GoPro/test')
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='ProtocolPSNR', protocol='rgb'), dict(type='ProtocolSSIM', protocol='rgb')]
test_evaluator = val_evaluator
