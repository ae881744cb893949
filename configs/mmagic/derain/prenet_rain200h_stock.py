# PReNet on Rain200H, which its authors re-trained it on for BRN (TIP 2020). Ours: the protocol of Rain100H, 15
# patches of each of the 1,800 pairs.
_base_ = ['../_base_/rain200h.py', '../_base_/prenet.py']
experiment_name = 'prenet_rain200h'
work_dir = f'./work_dirs/{experiment_name}'

train_dataloader = dict(dataset=_base_.train_data)
