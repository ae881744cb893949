# MMagic's own SwinIR for color denoising at sigma 25. Only the folders differ: MMagic's file reads data/DFWB by a list
# of names, and the test sets from data/; this one reads what `sapd prepare-dataset` writes.
_base_ = 'mmagic::swinir/swinir_s128w8d6e180_8xb1-lr2e-4-1600k_dfwb-colorDN25.py'

target = dict(img='target', gt='target')
train_dataloader = dict(
    dataset=dict(data_root='datasets/DFWB/train', data_prefix=dict(img='target_sub', gt='target_sub'), ann_file='')
)
val_dataloader = dict(dataset=dict(data_root='datasets/McMaster/test', data_prefix=target))
test_dataloader = _base_.test_dataloader
for dataloader in test_dataloader:
    name = dataloader['dataset']['metainfo']['dataset_type']
    dataloader['dataset'].update(data_root=f'datasets/{name}/test', data_prefix=target)
