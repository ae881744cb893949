# Rain13K: 13,712 pairs, validation on Rain100L, the third of its five test sets.
_base_ = './pairs.py'

train_data = dict(
    metainfo=dict(dataset_type='Rain13K', task_name='deraining'),
    data_root='datasets/Rain13K/train',
    data_prefix=dict(img='input', gt='target'),
)
val_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='Rain13K', task_name='deraining'), data_root='datasets/Rain13K/test/Rain100L'
    )
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='ProtocolPSNR', protocol='y'), dict(type='ProtocolSSIM', protocol='y')]
test_evaluator = val_evaluator
