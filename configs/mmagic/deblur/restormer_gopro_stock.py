# Restormer on GoPro.
_base_ = ['mmagic::restormer/restormer_official_gopro.py', '../restormer_training.py']
experiment_name = 'restormer_gopro'
work_dir = f'./work_dirs/{experiment_name}'

train_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='GoPro', task_name='deblurring'),
        data_root='data/gopro/train',
        data_prefix=dict(img='blur', gt='sharp'),
    )
)
val_dataloader = _base_.test_dataloader
val_evaluator = _base_.test_evaluator
default_hooks = dict(checkpoint=dict(save_best='GoPro/PSNR'))
