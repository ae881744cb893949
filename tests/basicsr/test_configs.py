"""Every shipped BasicSR config: its delta is the delta it claims, and its CPU-sized brother trains and tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import yaml
from basicsr.archs import build_network
from basicsr.utils.options import ordered_yaml

import sapd_plugin.basicsr  # noqa: F401
from photos import ROOT, make_pairs, make_store, run, shared_labels
from sapd_plugin.basicsr.options import check_options

CONFIGS = ROOT / 'configs/basicsr'
NAMES = sorted(str(p.relative_to(CONFIGS))[: -len('_stock.yml')] for p in CONFIGS.glob('*/*_stock.yml'))
DELTA = {
    'name',
    'model_type',
    'base_model_type',
    'network_spf',
    'datasets.train.type',
    'datasets.train.mask_store',
    'train.spd_opt',
    'train.sgr_opt',
}


def load(name: str, kind: str) -> dict:
    with open(CONFIGS / f'{name}_{kind}.yml', encoding='utf-8') as file:
        return yaml.load(file, Loader=ordered_yaml()[0])


def differences(a: object, b: object, where: str = '') -> set[str]:
    if a == b:
        return set()
    if where in DELTA or not (isinstance(a, dict) and isinstance(b, dict)):
        return {where}
    return set().union(*(differences(a.get(k), b.get(k), f'{where}.{k}' if where else k) for k in {*a, *b}))


def test_all_settings_are_there():
    assert {n.split('/')[0] for n in NAMES} == {'sr', 'derain', 'deblur', 'denoise'}
    for name in NAMES:
        for kind in ('stock', 'sapd', 'sapd_cpu', 'test'):
            assert (CONFIGS / f'{name}_{kind}.yml').is_file()


@pytest.mark.parametrize('name', NAMES)
def test_the_delta_is_small_and_nothing_else(name):
    assert differences(load(name, 'stock'), load(name, 'sapd')) <= DELTA
    lines = [set((CONFIGS / f'{name}_{kind}.yml').read_text().splitlines()) for kind in ('stock', 'sapd')]
    assert len(lines[1] - lines[0]) <= 22


@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('kind', ['sapd', 'sapd_cpu'])
def test_options_are_accepted_and_networks_build(name, kind):
    opt = load(name, kind)
    assert opt['model_type'] == 'SAPDModel'
    check_options(opt)
    block = dict(opt['network_spf'])
    block.setdefault('network', opt['network_g'])
    sizes = [sum(p.numel() for p in build_network(b).parameters()) for b in (opt['network_g'], block)]
    assert sizes[0] > (1e5 if kind == 'sapd' else 1e3)
    assert sizes[1] > 0
    assert load(name, 'test')['network_g'] == load(name, 'stock')['network_g']


@pytest.mark.slow
@pytest.mark.parametrize('name', NAMES)
def test_cpu_sized_config_trains_and_its_student_is_tested(name, shared_data, vgg_weights, tmp_path):
    opt = load(name, 'sapd_cpu')
    pairs = make_pairs(shared_data, tmp_path / 'pairs', 4, (128, 128))
    for path in (pairs / 'rainy').glob('*.png'):
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), None, fx=1 / opt['scale'], fy=1 / opt['scale']))
    store = make_store(tmp_path / 'masks', pairs / 'clean', shared_labels(shared_data))
    data = {
        'train:dataroot_gt': pairs / 'clean',
        'train:dataroot_lq': pairs / 'rainy',
        'train:mask_store': store,
        'train:dataset_enlarge_ratio': 2,
        'val:dataroot_gt': pairs / 'clean',
        'val:dataroot_lq': pairs / 'rainy',
    }
    force = [f'datasets:{key}={value}' for key, value in data.items()]
    force += ['train:total_iter=2', 'logger:print_freq=1', 'val:save_img=true']
    command = [
        str(ROOT / 'tools/basicsr_train.py'),
        '-opt',
        str(CONFIGS / f'{name}_sapd_cpu.yml'),
        '--force_yml',
        *force,
    ]
    result = run(command, tmp_path, SAPD_VGG_CHECKPOINT=str(vgg_weights))
    assert result.returncode == 0, result.stdout[-4000:]
    for loss in ('l_pix', 'l_spf', 'l_spd', 'l_sgr'):
        assert f'{loss}: ' in result.stdout
    assert '# psnr' in result.stdout
    assert Path(tmp_path, 'experiments', opt['name'], 'models/net_g_latest.pth').is_file()
