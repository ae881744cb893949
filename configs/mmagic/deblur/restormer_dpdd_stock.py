# Restormer on DPDD, defocus, one photo in; tested as MMagic's own config does, which reads data/ in place of datasets/.
_base_ = ['mmagic::_base_/datasets/deblurring-defocus_test_config.py', '../_base_/restormer.py']
experiment_name = 'restormer_dpdd_single'
work_dir = f'./work_dirs/{experiment_name}'

train_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='DPDD', task_name='deblurring'),
        data_root='datasets/DPDD/train',
        data_prefix=dict(img='inputC', gt='target'),
    )
)
test_dataloader = _base_.test_dataloader
for dataloader in test_dataloader:
    dataloader['dataset']['data_root'] = 'datasets/DPDD'
val_dataloader = test_dataloader
val_evaluator = _base_.test_evaluator
val_cfg = dict(type='MultiValLoop')
default_hooks = dict(checkpoint=dict(save_best='DPDD-Combined/PSNR'))
