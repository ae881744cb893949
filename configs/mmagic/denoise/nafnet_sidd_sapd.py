# NAFNet on SIDD with SAM priors.
_base_ = 'mmagic::nafnet/nafnet_c64eb2248mb12db2222_8xb8-lr1e-3-400k_sidd.py'
custom_imports = dict(imports=['sapd_plugin.mmagic'])
experiment_name = 'sapd_nafnet_c64_sidd'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    type='SAPDModel',
    network_spf=dict(type='SPF'),
    spd_loss=dict(type='SPDLoss', loss_weight=0.1),
    sgr_loss=dict(type='SGRLoss', loss_weight=0.1),
)
# MMagic's SIDD has the endings _NOISY and _GT; the masks are named after the images that they were cut from.
train_dataloader = dict(
    dataset=dict(type='PairedImageMaskDataset', mask_store='data/masks/sidd_train', mask_filename_tmpl='{}_NOISY')
)
default_hooks = dict(sapd=dict(type='SAPDHook'))
