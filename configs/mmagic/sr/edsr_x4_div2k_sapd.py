# EDSR x4 on DIV2K with SAM priors.
_base_ = '../_base_/mmagic_edsr_div2k.py'
custom_imports = dict(imports=['sapd_plugin.mmagic'])
experiment_name = 'sapd_edsr_x4_div2k'
work_dir = f'./work_dirs/{experiment_name}'

model = dict(
    type='SAPDModel',
    # The second network works at the output size: EDSR without upsampling.
    network_spf=dict(
        type='SPF',
        network=dict(
            type='EDSRNet', in_channels=3, out_channels=3, mid_channels=64, num_blocks=16, upscale_factor=1, res_scale=1
        ),
    ),
    spd_loss=dict(type='SPDLoss', loss_weight=0.1),
    sgr_loss=dict(type='SGRLoss', loss_weight=0.1),
)
train_dataloader = dict(dataset=dict(type='PairedImageMaskDataset', mask_store='datasets/masks/DIV2K_train_HR_sub'))
default_hooks = dict(sapd=dict(type='SAPDHook'))
