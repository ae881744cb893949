# Restormer on Rain13K.
_base_ = ['mmagic::restormer/restormer_official_rain13k.py', '../restormer_training.py']
experiment_name = 'restormer_rain13k'
work_dir = f'./work_dirs/{experiment_name}'

train_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='Rain13K', task_name='deraining'),
        data_root='data/Rain13K/train',
        data_prefix=dict(img='input', gt='target'),
    )
)
val_dataloader = _base_.test_dataloader
val_evaluator = _base_.test_evaluator
default_hooks = dict(checkpoint=dict(save_best='Rain100L/PSNR'))
