"""--restored-by: masks of what a student restores, without writing the restored images."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from basicsr.archs import build_network

from sapd_plugin.basicsr.restorer import build_restorer
from sapd_plugin.basicsr.test import main as run_stock_test
from sapd_plugin.cli import add, check, extract_masks, inference_cost
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.store import MaskStore
from tests.adapters_basicsr.recipes import run_here, stock_options, write_yaml
from tests.adapters_basicsr.test_model import SWINIR as TRAINED
from tests.photos import ROOT, run, succeed

# Its windows do not divide 96x112 less a few pixels, so the model's own padding matters.
SWINIR = {**TRAINED, 'upscale': 2, 'img_size': 32, 'upsampler': 'pixelshuffledirect'}


def test_masks_are_those_of_the_images_that_the_test_tool_saves(pairs, tmp_path):
    """Of a small SwinIR with normalised input, by its EMA weights."""
    degraded, checkpoint = tmp_path / 'degraded', tmp_path / 'net_g.pth'
    degraded.mkdir()
    for path in sorted((pairs / 'rainy').glob('*.png'))[:2]:
        cv2.imwrite(str(degraded / path.name), cv2.imread(str(path))[:45, :52])
    test = {'name': 'rain', 'type': 'SingleImageDataset', 'dataroot_lq': str(degraded), 'io_backend': {'type': 'disk'}}
    test.update(mean=[0.1, 0.2, 0.3], std=[0.9, 1.0, 1.1])
    opt = stock_options(
        pairs, name='swin', model_type='SwinIRModel', scale=2, network_g=SWINIR, datasets={'test': test}
    )
    opt.update(val={'save_img': True, 'suffix': None})
    opt['path'].update(pretrain_network_g=str(checkpoint), param_key_g='params_ema')
    torch.manual_seed(0)
    torch.save({key: build_network(dict(SWINIR)).state_dict() for key in ('params', 'params_ema')}, checkpoint)
    config = write_yaml(opt, tmp_path / 'swin.yml')
    run_here(run_stock_test, opt, tmp_path)
    saved = tmp_path / 'results' / 'swin' / 'visualization' / 'rain'
    restorer = build_restorer(config, checkpoint, 'cpu')
    arguments = ['--images', str(degraded), '--output', str(tmp_path / 'store'), '--segmenter', 'felzenszwalb']
    arguments += ['--set', 'min_size=20', '--restored-by', str(config), str(checkpoint), '--overlays', '1']
    assert extract_masks.main(arguments) == 0
    store, segmenter = MaskStore(tmp_path / 'store'), build_segmenter('felzenszwalb', min_size=20)
    assert store.settings['source'] == 'restored'
    assert store.settings['restored_by'] == restorer.settings
    assert len(list((tmp_path / 'store').rglob('*.png'))) == 1, 'the overlay; restored images are not written'
    for path in sorted(degraded.glob('*.png')):
        image = read_image(saved / f'{path.stem}_swin.png')
        assert image.shape == (90, 104, 3)
        np.testing.assert_array_equal(restorer(read_image(path)), image)
        np.testing.assert_array_equal(store.record(path.stem).labels(), segmenter(image).labels)
    overlay = cv2.imread(str(next((tmp_path / 'store' / 'overlays').glob('*.png'))))
    assert overlay.shape == (90, 104, 3)


def small(pairs: Path, folder: Path, **changes: Any) -> tuple[Path, dict[str, Any]]:
    opt = stock_options(pairs, **changes)
    return write_yaml(opt, folder / f'{len(list(folder.iterdir()))}.yml', tagged=True), opt


def test_weights_are_found_as_basicsr_finds_them(pairs, tmp_path):
    config, opt = small(pairs, tmp_path)
    torch.manual_seed(1)
    first, second = (build_network(dict(opt['network_g'])).state_dict() for _ in range(2))
    image = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)
    outputs = {}
    for name, content in (
        ('ema', {'params': first, 'params_ema': second}),
        ('params', {'params': second}),
        ('bare', second),
        ('other', {'params': first}),
    ):
        torch.save(content, tmp_path / f'{name}.pth')
        restorer = build_restorer(config, tmp_path / f'{name}.pth', 'cpu')
        outputs[name] = restorer(image)
        expected = {'ema': 'params_ema', 'bare': 'state dict'}.get(name, 'params')
        assert restorer.settings['weights'] == expected
    np.testing.assert_array_equal(outputs['ema'], outputs['params'])
    np.testing.assert_array_equal(outputs['ema'], outputs['bare'])
    assert (outputs['ema'] != outputs['other']).any()


def test_a_training_yaml_with_sam_priors_gives_the_same_student(pairs, tmp_path):
    stock, opt = small(pairs, tmp_path)
    sapd, _ = small(pairs, tmp_path, **{'model_type': 'SAPDModel'})
    torch.save({'params': build_network(dict(opt['network_g'])).state_dict()}, tmp_path / 'net.pth')
    image = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)
    ours, theirs = (build_restorer(config, tmp_path / 'net.pth', 'cpu') for config in (sapd, stock))
    np.testing.assert_array_equal(ours(image), theirs(image))
    assert ours.settings['checkpoint_sha256'] == theirs.settings['checkpoint_sha256']
    assert ours.settings['config_sha256'] != theirs.settings['config_sha256']


def test_mistakes_are_named(pairs, tmp_path):
    config, opt = small(pairs, tmp_path)
    torch.save({'params': {'other': torch.zeros(1)}}, tmp_path / 'net.pth')
    with pytest.raises(
        SAPDError, match=r'^--restored-by: .*net.pth: its weights are not of SRVGGNetCompact: .*Missing key'
    ):
        build_restorer(config, tmp_path / 'net.pth', 'cpu')
    with pytest.raises(SAPDError, match='found no file'):
        build_restorer(config, tmp_path / 'gone.pth', 'cpu')
    with pytest.raises(SAPDError, match='is not a checkpoint'):
        build_restorer(config, config, 'cpu')
    (tmp_path / 'list.yml').write_text('- 1')
    with pytest.raises(SAPDError, match='found no keys, expected the options of a BasicSR training'):
        build_restorer(tmp_path / 'list.yml', tmp_path / 'net.pth', 'cpu')
    network = {**opt['network_g'], 'type': 'SRVGGNetCompactt'}
    misspelt, _ = small(pairs, tmp_path, **{'network_g': network})
    with pytest.raises(
        SAPDError, match="network_g.type: found 'SRVGGNetCompactt', which is not registered. Did you mean 'SRVGG"
    ):
        build_restorer(misspelt, tmp_path / 'net.pth', 'cpu')
    named, _ = small(pairs, tmp_path, **{'path:param_key_g': 'params_best'})
    torch.save({'params_ema': build_network(dict(opt['network_g'])).state_dict()}, tmp_path / 'ema.pth')
    with pytest.raises(SAPDError, match="param_key_g: found 'params_best', expected one of .*params_ema"):
        build_restorer(named, tmp_path / 'ema.pth', 'cpu')


@pytest.mark.parametrize('key', ['model_type', 'base_model_type'])
def test_a_model_class_that_is_not_registered_is_not_needed(pairs, tmp_path, key):
    """Of a training elsewhere: its network is known here, its model class is not."""
    config, opt = small(pairs, tmp_path)
    changes = {'model_type': 'SAPDModel', key: 'MyOwnModel'}
    own, _ = small(pairs, tmp_path, **changes)
    torch.save({'params': build_network(dict(opt['network_g'])).state_dict()}, tmp_path / 'net.pth')
    image = np.random.default_rng(0).integers(0, 256, (24, 30, 3), np.uint8)
    ours, theirs = (build_restorer(each, tmp_path / 'net.pth', 'cpu') for each in (own, config))
    np.testing.assert_array_equal(ours(image), theirs(image))
    assert theirs.note == ''
    assert ours.note.startswith("the model 'MyOwnModel' is not registered here, so SRModel's test is used.")
    assert 'What a package of your own registers, --import MODULE makes known.' in ours.note


ARCHS = """
from basicsr.archs.srvgg_arch import SRVGGNetCompact
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

@ARCH_REGISTRY.register()
class OwnNet{n}(SRVGGNetCompact):
    pass

@MODEL_REGISTRY.register()
class OwnModel{n}(SRModel):
    def test(self):
        super().test()
        self.output = 1 - self.output
"""


@pytest.mark.slow
def test_a_network_and_a_model_of_a_users_package_are_imported_from_the_working_folder(pairs, tmp_path):
    (tmp_path / 'own').mkdir()
    (tmp_path / 'own/__init__.py').write_text('')
    (tmp_path / 'own/archs.py').write_text(ARCHS.format(n=''))
    opt = stock_options(pairs, model_type='OwnModel')
    network = build_network(dict(opt['network_g']))
    torch.save({'params': network.state_dict()}, tmp_path / 'net.pth')
    opt['network_g']['type'] = 'OwnNet'
    write_yaml(opt, tmp_path / 'own.yml')
    command = [str(ROOT / 'tools/extract_masks.py'), '--images', str(pairs / 'rainy'), '--segmenter', 'felzenszwalb']
    command += ['--restored-by', 'own.yml', 'net.pth', '--device', 'cpu']
    result = run([*command, '--output', 'without'], tmp_path)
    assert result.returncode == 2
    assert "network_g.type: found 'OwnNet', which is not registered." in result.stdout
    assert '--import MODULE' in result.stdout
    succeed([*command, '--output', 'masks', '--import', 'own.archs'], tmp_path)
    store, segmenter = MaskStore(tmp_path / 'masks'), build_segmenter('felzenszwalb')
    image = read_image(pairs / 'rainy/001.png')
    with torch.no_grad():
        y = 1 - network(torch.from_numpy(image.transpose(2, 0, 1).copy())[None] / 255)
    restored = (255 * y[0].clamp(0, 1)).round().byte().numpy().transpose(1, 2, 0)
    np.testing.assert_array_equal(store.record('001').labels(), segmenter(restored).labels)
    printed = succeed(
        [str(ROOT / 'tools/inference_cost.py'), 'own.yml', 'net.pth', '--import', 'own.archs', '--size', '16', '16'],
        tmp_path,
    )
    assert '| net.pth | 16x16 |' in printed


@pytest.mark.parametrize(
    ('content', 'name', 'message'),
    [
        (None, 'absent_archs', "--import: found no module 'absent_archs', expected the name of one in .* or installed"),
        ('', 'named_archs.py', r'expected the name of one .* Write it as named_archs\.'),
        ('', './named_archs.py', r'Write it as named_archs\.'),
        ('', 'named_archs/x.py', r'Write it as named_archs\.x\.'),
        (
            'import absent_package',
            'broken_archs',
            '--import: broken_archs cannot be imported: ModuleNotFoundError: No mod',
        ),
        ('1 / 0', 'raising_archs', '--import: raising_archs cannot be imported: ZeroDivisionError: division by zero'),
        ('def', 'written_archs', '--import: written_archs cannot be imported: SyntaxError'),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(pairs, tmp_path, monkeypatch, capsys, content, name, message):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', list(sys.path))
    if content is not None:
        (tmp_path / f'{Path(name).parts[0].removesuffix(".py")}.py').write_text(content)
    arguments = ['--images', str(pairs / 'rainy'), '--output', 'store', '--segmenter', 'felzenszwalb']
    config, _ = small(pairs, tmp_path)
    assert extract_masks.main([*arguments, '--restored-by', str(config), 'net.pth', '--import', name]) == 2
    assert re.search(message, capsys.readouterr().err)
    for tool, more in ((inference_cost, [str(config)]), (check, [str(config)]), (add, [str(config), '--masks', 'x'])):
        assert tool.main([*more, '--import', name]) == 2
        assert re.search(message, capsys.readouterr().err)


def test_the_tool_names_an_unknown_kind_of_config(pairs, tmp_path, capsys):
    arguments = ['--images', str(pairs / 'rainy'), '--output', str(tmp_path / 'store'), '--segmenter', 'felzenszwalb']
    assert extract_masks.main([*arguments, '--restored-by', 'student.toml', 'net.pth', '--device', 'cpu']) == 2
    assert 'error: --restored-by: found student.toml, expected a config that ends with .yml' in capsys.readouterr().err
