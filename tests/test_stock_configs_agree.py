"""A model's stock configs in both frameworks hold one protocol."""

from __future__ import annotations

from typing import Any

import pytest
from mmengine.config import Config

from sapd_plugin.basicsr.options import parse_yaml
from tests.photos import ROOT

CONFIGS = ROOT / 'configs'
BOTH = sorted(
    str(path.relative_to(CONFIGS / 'mmagic').with_suffix(''))
    for path in (CONFIGS / 'mmagic').glob('*/*_stock.py')
    if (CONFIGS / 'basicsr' / path.parent.name / f'{path.stem}.yml').is_file()
)
LOSSES = {'loss_weight': 1.0, 'reduction': 'mean'}


def loss(block: dict[str, Any]) -> Any:
    """A loss block without its defaults."""
    criteria = block.get('criteria')
    if criteria is not None:
        return [loss(each) for each in (criteria if isinstance(criteria, list) else [criteria])]
    return {key: value for key, value in block.items() if LOSSES.get(key) != value}


def in_basicsr(name: str) -> dict[str, Any]:
    opt = parse_yaml((CONFIGS / f'basicsr/{name}.yml').read_text(encoding='utf-8'))
    train, data = opt['train'], opt['datasets']['train']
    optimizer = dict(train['optim_g'])
    schedule = train['scheduler']
    lowest = schedule.get('eta_mins', [schedule.get('eta_min')])[-1]
    return {
        'iterations': train['total_iter'],
        'batch': data['batch_size_per_gpu'],
        'patch': data['gt_size'],
        'flips': (data['use_hflip'], data['use_rot']),
        'sigma': data.get('sigma'),
        'clip': optimizer.pop('clip_grad_norm', None),
        'optimizer': {**optimizer, 'betas': list(optimizer['betas'])},
        'loss': loss(train['pixel_opt']),
        'milestones': (schedule.get('milestones'), schedule.get('gamma')),
        'lowest rate': lowest,
        'ema': bool(train.get('ema_decay')),
        'data': (data.get('dataroot_lq', data['dataroot_gt']), data['dataroot_gt']),
    }


def in_mmagic(name: str) -> dict[str, Any]:
    config = Config.fromfile(CONFIGS / f'mmagic/{name}.py').to_dict()
    data, wrapper = config['train_dataloader']['dataset'], config['optim_wrapper']
    steps = {transform['type']: transform for transform in data['pipeline']}
    schedules = config['param_scheduler']
    last = schedules[-1] if isinstance(schedules, list) else schedules
    optimizer = {'weight_decay': 0, **wrapper['optimizer']}
    return {
        'iterations': config['train_cfg']['max_iters'],
        'batch': config['train_dataloader']['batch_size'],
        'patch': steps['PairedRandomCrop']['gt_patch_size'],
        'flips': ('Flip' in steps, 'RandomTransposeHW' in steps),
        'sigma': steps.get('GaussianNoise', {}).get('sigma'),
        'clip': wrapper.get('clip_grad', {}).get('max_norm'),
        'optimizer': {**optimizer, 'betas': list(optimizer['betas'])},
        'loss': loss(config['model']['pixel_loss']),
        'milestones': (last.get('milestones'), last.get('gamma')),
        'lowest rate': last.get('eta_min'),
        'ema': any(hook['type'] == 'EMAHook' for hook in config['custom_hooks']),
        'data': tuple(f'{data["data_root"]}/{data["data_prefix"][key]}' for key in ('img', 'gt')),
    }


@pytest.mark.parametrize('name', BOTH)
def test_one_protocol(name):
    assert in_basicsr(name) == in_mmagic(name)


def test_every_model_of_the_tables_is_in_both():
    assert len(BOTH) == 24
