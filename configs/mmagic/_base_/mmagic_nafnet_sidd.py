# MMagic's own NAFNet for SIDD. Only the folders and names differ: MMagic's file reads data/SIDD with the endings _NOISY
# and _GT, this one reads what `sapd prepare-dataset sidd` writes, pairs of equal names.
_base_ = 'mmagic::nafnet/nafnet_c64eb2248mb12db2222_8xb8-lr1e-3-400k_sidd.py'

names = dict(img='{}', gt='{}')
train_dataloader = dict(
    dataset=dict(
        data_root='datasets/SIDD/train', data_prefix=dict(img='input_sub', gt='target_sub'), filename_tmpl=names
    )
)
val_dataloader = dict(
    dataset=dict(data_root='datasets/SIDD/val', data_prefix=dict(img='input', gt='target'), filename_tmpl=names)
)
test_dataloader = val_dataloader
