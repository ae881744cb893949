"""Every shipped BasicSR config is run: stock, with SAM priors, and CPU-sized; by the train tool."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataset

from sapd_plugin.basicsr import test, train
from sapd_plugin.basicsr.delta import add_delta
from sapd_plugin.basicsr.options import check_options, parse_yaml
from tests.adapters_basicsr.recipes import run_here
from tests.config_stand_ins import MODELS, check_sizes, parameters, tiny, write_pictures
from tests.photos import ROOT, make_store

CONFIGS = ROOT / 'configs/basicsr'
STOCK, SAPD, CPU, TEST = (
    sorted(str(p.relative_to(CONFIGS))[: -len(end)] for p in CONFIGS.glob(f'*/*{end}'))
    for end in ('_stock.yml', '_sapd.yml', '_sapd_cpu.yml', '_test.yml')
)
FULL = [name for name in STOCK if not name.startswith('quickstart/')]  # these are small as they are
PATCH = 48
NAMES = ['one', 'two']


def load(name: str, kind: str) -> dict[str, Any]:
    """Read the options of a shipped config; the kind 'delta' is what ``sapd add`` makes of the stock one."""
    text = (CONFIGS / f'{name}_{"stock" if kind == "delta" else kind}.yml').read_text(encoding='utf-8')
    return json.loads(json.dumps(parse_yaml(add_delta(text, 'datasets/masks/train') if kind == 'delta' else text)))


def test_every_config_is_run():
    found = {str(path.relative_to(CONFIGS)) for path in CONFIGS.rglob('*.yml')}
    kinds = {'stock': STOCK, 'sapd': SAPD, 'sapd_cpu': CPU, 'test': TEST}
    assert found == {f'{name}_{kind}.yml' for kind, names in kinds.items() for name in names}
    assert {name.split('/')[0] for name in STOCK} == {'quickstart', 'sr', 'derain', 'deblur', 'denoise'}
    assert len(STOCK) >= 29
    assert SAPD == CPU
    assert set(SAPD) <= set(STOCK) & set(TEST)


@pytest.mark.parametrize('name', SAPD)
def test_the_delta_is_small(name):
    """And nothing else: tests/cli/test_add.py."""
    lines = [set((CONFIGS / f'{name}_{kind}.yml').read_text().splitlines()) for kind in ('stock', 'sapd')]
    assert len(lines[1] - lines[0]) <= 22
    assert load(name, 'test')['network_g'] == load(name, 'stock')['network_g']


@pytest.mark.parametrize(('name', 'kind'), [(name, kind) for name in SAPD for kind in ('sapd', 'sapd_cpu')])
def test_options_are_accepted_and_networks_build(name, kind):
    opt = load(name, kind)
    check_options(opt)
    assert parameters(build_network, opt['network_g']) > (1e5 if kind == 'sapd' else 1e3)
    assert parameters(build_network, {'network': opt['network_g'], **opt['network_spf']}) > 0


@pytest.mark.parametrize('name', FULL)
def test_full_size_network_builds(name):
    assert parameters(build_network, load(name, 'stock')['network_g']) > 1.6e5


@pytest.mark.parametrize('model', MODELS)
def test_sizes_of_the_tables(model):
    stock = [load(name, 'stock')['network_g'] for name in FULL if name not in SAPD]
    check_sizes('basicsr', model, stock, build_network)


def fill_folders(opt: dict[str, Any], root: Path) -> None:
    """Pictures for a config's training at its full patch, for its validation, and masks."""
    for phase, dataset in opt['datasets'].items():
        side = dataset['gt_size'] + 8 if phase == 'train' else 64
        write_pictures(root / dataset['dataroot_gt'], NAMES, side, side + 8)
        if 'dataroot_lq' in dataset:
            scale = opt['scale']
            write_pictures(root / dataset['dataroot_lq'], NAMES, side // scale, (side + 8) // scale, degraded=True)
        if 'mask_store' in dataset:
            make_store(root / dataset['mask_store'], root / dataset['dataroot_gt'])


def cut_down(opt: dict[str, Any], brother: dict[str, Any] | None) -> None:
    """Narrow networks, small patches, two iterations; all else stays."""
    if brother is not None:
        opt.update({key: brother[key] for key in ('network_g', 'network_spf') if key in opt})
    else:
        changes = tiny('basicsr', opt['network_g']['type'])
        assert changes is not None, f'{opt["network_g"]["type"]} is not in configs/tables/models.yml'
        opt['network_g'].update(changes)
    train = opt['datasets']['train']
    train.update(gt_size=min(train['gt_size'], PATCH), batch_size_per_gpu=min(train['batch_size_per_gpu'], 2))
    train.update(num_worker_per_gpu=0, dataset_enlarge_ratio=4)
    opt['num_gpu'], opt['train']['total_iter'], opt['val']['val_freq'] = 0, 2, 2
    opt['logger'].update(print_freq=1, use_tb_logger=False)


RUNS = [(name, 'stock') for name in STOCK] + [(name, 'sapd') for name in SAPD] + [(name, 'sapd_cpu') for name in CPU]
RUNS += [(name, 'delta') for name in STOCK if name not in SAPD]


@pytest.mark.parametrize(('name', 'kind'), RUNS)
def test_config_trains_and_validates(name, kind, vgg_weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('SAPD_VGG_CHECKPOINT', str(vgg_weights))
    opt = load(name, kind)
    fill_folders(opt, tmp_path)
    dataset = {**opt['datasets']['train'], 'phase': 'train', 'scale': opt['scale']}
    sample = build_dataset(json.loads(json.dumps(dataset)))[0]
    side, channels = dataset['gt_size'], opt['network_g'].get('in_nc', 3)
    assert sample['gt'].shape == (channels, side, side)
    assert sample['lq'].shape == (channels, side // opt['scale'], side // opt['scale'])
    if 'sigma' in dataset:
        noise = 255 * (sample['lq'] - sample['gt']).std().item()
        assert noise == pytest.approx(25, rel=0.1) if dataset['sigma'] == 25 else 0 < noise < 60
    priors = opt['model_type'] == 'SAPDModel'
    assert ('mask' in sample) == priors
    cut_down(opt, load(name, 'sapd_cpu') if name in CPU else None)
    log = run_here(train.main, opt, tmp_path)
    for loss in ('l_pix', *(('l_spf', 'l_spd', 'l_sgr') if priors else ())):
        assert f'{loss}: ' in log
    assert '# psnr: ' in log
    assert re.search(r'iter:\s+2,', log)
    assert not re.search(r'\bnan\b', log)
    saved = torch.load(tmp_path / 'experiments' / opt['name'] / 'models/net_g_latest.pth', weights_only=True)
    assert saved.keys() == ({'params', 'params_ema'} if opt['train'].get('ema_decay') else {'params'})
    assert all(torch.isfinite(value).all() for value in saved['params'].values())
    if kind == 'sapd_cpu':
        stock_test = load(name, 'test')
        stock_test.update(network_g=opt['network_g'], num_gpu=0)
        stock_test['path']['pretrain_network_g'] = f'experiments/{opt["name"]}/models/net_g_latest.pth'
        tested = run_here(test.main, stock_test, tmp_path)
        assert re.findall(r'# psnr: [\d.]+', tested) == re.findall(r'# psnr: [\d.]+', log)[-1:]
