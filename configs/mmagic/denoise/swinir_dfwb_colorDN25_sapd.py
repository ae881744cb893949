# SwinIR, colour denoising at sigma 25, with SAM priors.
_base_ = 'mmagic::swinir/swinir_s128w8d6e180_8xb1-lr2e-4-1600k_dfwb-colorDN25.py'
custom_imports = dict(imports=['sapd_plugin.mmagic'])
experiment_name = 'sapd_swinir_dfwb_colorDN25'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    type='SAPDModel',
    network_spf=dict(type='SPF'),
    spd_loss=dict(type='SPDLoss', loss_weight=0.1),
    sgr_loss=dict(type='SGRLoss', loss_weight=0.1),
)
train_dataloader = dict(dataset=dict(type='PairedImageMaskDataset', mask_store='data/masks/dfwb'))
# MMagic 1.2.0's own file stops at its first validation without these two.
val_cfg = dict(type='MultiValLoop')
default_hooks = dict(checkpoint=dict(save_best='McMaster/PSNR'), sapd=dict(type='SAPDHook'))
