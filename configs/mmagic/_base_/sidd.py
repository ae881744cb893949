# SIDD: training on sub-images of the medium set, test on the 1,280 validation crops, unrounded as its tables are.
_base_ = './pairs.py'

train_data = dict(
    metainfo=dict(dataset_type='SIDD', task_name='denoising'),
    data_root='datasets/SIDD/train',
    data_prefix=dict(img='input_sub', gt='target_sub'),
)
val_dataloader = dict(
    dataset=dict(metainfo=dict(dataset_type='SIDD', task_name='denoising'), data_root='datasets/SIDD/val')
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='ProtocolPSNR', protocol='rgb_float'), dict(type='ProtocolSSIM', protocol='rgb_float')]
test_evaluator = val_evaluator
