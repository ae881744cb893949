# Rain100L: its own training and test set.
_base_ = './pairs.py'

train_data = dict(
    metainfo=dict(dataset_type='Rain100L', task_name='deraining'),
    data_root='datasets/Rain100L/train',
    data_prefix=dict(img='input', gt='target'),
)
val_dataloader = dict(
    dataset=dict(metainfo=dict(dataset_type='Rain100L', task_name='deraining'), data_root='datasets/Rain100L/test')
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='ProtocolPSNR', protocol='y'), dict(type='ProtocolSSIM', protocol='y')]
test_evaluator = val_evaluator
