# Restormer on SIDD.
_base_ = ['mmagic::restormer/restormer_official_sidd.py', '../restormer_training.py']
experiment_name = 'restormer_sidd'
work_dir = f'./work_dirs/{experiment_name}'

train_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='SIDD', task_name='denoising'),
        data_root='data/SIDD/train',
        data_prefix=dict(img='noisy', gt='gt'),
    )
)
val_dataloader = _base_.test_dataloader
val_evaluator = _base_.test_evaluator
default_hooks = dict(checkpoint=dict(save_best='SIDD/PSNR'))
