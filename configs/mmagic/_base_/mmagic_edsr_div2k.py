# MMagic's own EDSR x4 for DIV2K. Only the root differs: MMagic's file reads data/, this one reads datasets/, with the
# folders that MMagic's preparation makes.
_base_ = 'mmagic::edsr/edsr_x4c64b16_1xb16-300k_div2k.py'

train_dataloader = dict(dataset=dict(data_root='datasets/DIV2K'))
val_dataloader = dict(dataset=dict(data_root='datasets/Set5'))
test_dataloader = _base_.test_dataloader
for dataloader in test_dataloader:
    dataloader['dataset']['data_root'] = dataloader['dataset']['data_root'].replace('data/', 'datasets/')
