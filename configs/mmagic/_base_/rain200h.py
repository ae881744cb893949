# Rain200H: its own training and test set.
_base_ = './pairs.py'

train_data = dict(
    metainfo=dict(dataset_type='Rain200H', task_name='deraining'),
    data_root='datasets/Rain200H/train',
    data_prefix=dict(img='input', gt='target'),
)
val_dataloader = dict(
    dataset=dict(metainfo=dict(dataset_type='Rain200H', task_name='deraining'), data_root='datasets/Rain200H/test')
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='ProtocolPSNR', protocol='y'), dict(type='ProtocolSSIM', protocol='y')]
test_evaluator = val_evaluator
