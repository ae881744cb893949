# Restormer on DPDD, defocus, one photo in.
_base_ = ['mmagic::restormer/restormer_official_dpdd-single.py', '../restormer_training.py']
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
default_hooks = dict(checkpoint=dict(save_best='DPDD-Combined/PSNR'))
