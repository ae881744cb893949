# NAFNet on GoPro with SAM priors.
_base_ = '../_base_/mmagic_nafnet_gopro.py'
custom_imports = dict(imports=['sapd_plugin.mmagic'])
experiment_name = 'sapd_nafnet_c64_gopro'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    type='SAPDModel',
    network_spf=dict(type='SPF'),
    spd_loss=dict(type='SPDLoss', loss_weight=0.1),
    sgr_loss=dict(type='SGRLoss', loss_weight=0.1),
)
train_dataloader = dict(dataset=dict(type='PairedImageMaskDataset', mask_store='datasets/masks/GoPro_train'))
default_hooks = dict(sapd=dict(type='SAPDHook'))
