# SwinIR, color denoising at sigma 25, with SAM priors.
_base_ = '../_base_/mmagic_swinir_dfwb.py'
custom_imports = dict(imports=['sapd_plugin.mmagic'])
experiment_name = 'sapd_swinir_dfwb_colorDN25'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    type='SAPDModel',
    network_spf=dict(type='SPF'),
    spd_loss=dict(type='SPDLoss', loss_weight=0.1),
    sgr_loss=dict(type='SGRLoss', loss_weight=0.1),
)
train_dataloader = dict(dataset=dict(type='PairedImageMaskDataset', mask_store='datasets/masks/DFWB_train'))
# MMagic 1.2.0's own file stops at its first validation without these two.
val_cfg = dict(type='MultiValLoop')
default_hooks = dict(checkpoint=dict(save_best='McMaster/PSNR'), sapd=dict(type='SAPDHook'))
