# MMagic's own NAFNet for GoPro. Only the folders differ: MMagic's file reads data/gopro, this one reads what
# `sapd prepare-dataset gopro` writes.
_base_ = 'mmagic::nafnet/nafnet_c64eb11128mb1db1111_8xb8-lr1e-3-400k_gopro.py'

train_dataloader = dict(
    dataset=dict(data_root='datasets/GoPro/train', data_prefix=dict(img='input_sub', gt='target_sub'))
)
val_dataloader = dict(dataset=dict(data_root='datasets/GoPro/test', data_prefix=dict(img='input', gt='target')))
test_dataloader = val_dataloader
