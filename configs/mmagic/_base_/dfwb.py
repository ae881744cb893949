# DFWB (DIV2K, Flickr2K, WED, BSD400) for Gaussian color denoising at sigma 25: training on sub-images, validation on
# CBSD68 with the same noise each time. Another noise level: train_dataloader.dataset.pipeline.7.sigma and
# val_dataloader.dataset.pipeline.2.sigma.
_base_ = './pairs.py'

train_data = dict(
    metainfo=dict(dataset_type='DFWB', task_name='denoising'),
    data_root='datasets/DFWB/train',
    data_prefix=dict(img='target_sub', gt='target_sub'),
)
train_noise = dict(type='GaussianNoise', sigma=25)
val_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='CBSD68', task_name='denoising'),
        data_root='datasets/CBSD68/test',
        data_prefix=dict(img='target', gt='target'),
        pipeline=[
            *_base_.eval_dataloader.dataset.pipeline[:2],
            dict(type='GaussianNoise', sigma=25, seed=0),
            dict(type='PackInputs'),
        ],
    )
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='ProtocolPSNR', protocol='rgb'), dict(type='ProtocolSSIM', protocol='rgb')]
test_evaluator = val_evaluator
