# PReNet on Rain100H: 100 epochs of 1,045 iterations, their 18,810 patches, 15 of each of the 1,254 pairs without test
# scenes.
_base_ = ['../_base_/rain100h.py', '../_base_/prenet.py']
experiment_name = 'prenet_rain100h'
work_dir = f'./work_dirs/{experiment_name}'

param_scheduler = dict(milestones=[31_350, 52_250, 83_600])
train_cfg = dict(max_iters=104_500)
train_dataloader = dict(dataset=_base_.train_data)
