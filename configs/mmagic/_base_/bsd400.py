# BSD400 for Gaussian grey denoising at sigma 25, validation on BSD68 with the same noise each time. Another noise
# level: train_dataloader.dataset.pipeline.8.sigma and val_dataloader.dataset.pipeline.3.sigma.
_base_ = './pairs.py'

train_data = dict(
    metainfo=dict(dataset_type='BSD400', task_name='denoising'),
    data_root='datasets/BSD400/train',
    data_prefix=dict(img='target', gt='target'),
)
gray = dict(type='MATLABGray')
train_noise = dict(type='GaussianNoise', sigma=25)
val_dataloader = dict(
    dataset=dict(
        metainfo=dict(dataset_type='BSD68', task_name='denoising'),
        data_root='datasets/BSD68/test',
        data_prefix=dict(img='target', gt='target'),
        pipeline=[
            *_base_.eval_dataloader.dataset.pipeline[:2],
            gray,
            dict(type='GaussianNoise', sigma=25, seed=0),
            dict(type='PackInputs'),
        ],
    )
)
test_dataloader = val_dataloader
val_evaluator = [dict(type='ProtocolPSNR', protocol='gray'), dict(type='ProtocolSSIM', protocol='gray')]
test_evaluator = val_evaluator
