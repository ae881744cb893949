# Restormer on DPDD, defocus, one photo in; tested as MMagic's own config does.
_base_ = ['mmagic::_base_/datasets/deblurring-defocus_test_config.py', '../_base_/restormer.py']
experiment_name = 'restormer_dpdd_single'
work_dir = f'./work_dirs/{experiment_name}'

train_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='DPDD', task_name='deblurring'),
        data_root='data/DPDD/train',
        data_prefix=dict(img='inputC', gt='target'),
    )
)
val_dataloader = _base_.test_dataloader
val_evaluator = _base_.test_evaluator
val_cfg = dict(type='MultiValLoop')
default_hooks = dict(checkpoint=dict(save_best='DPDD-Combined/PSNR'))
