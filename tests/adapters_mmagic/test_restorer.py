"""A trained MMagic student as a function: it restores what MMagic's own test does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from mmagic.models.base_models import BaseEditModel
from mmagic.registry import DATASETS, MODELS
from mmengine.config import Config

from sapd_plugin.cli import extract_masks
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.networks import build_network_from, load_student
from sapd_plugin.mmagic.restorer import build_restorer
from sapd_plugin.priors.store import MaskStore
from tests.adapters_mmagic.recipes import sapd_config, stock_config, write_config
from tests.photos import ROOT, succeed

BGR = {f'{phase}_dataloader:dataset:pipeline:{i}:channel_order': 'bgr' for phase in ('train', 'val') for i in (0, 1)}


def saved(config: dict[str, Any], path: Path) -> tuple[BaseEditModel, tuple[Path, Path]]:
    """A model of a config, and the files of both: ``path`` with .py and .pth."""
    model = MODELS.build(config['model']).eval()
    student = {key: value for key, value in model.state_dict().items() if key.startswith('generator.')}
    torch.save({'state_dict': student}, path.with_suffix('.pth'))
    return model, (write_config(config, path.with_suffix('.py')), path.with_suffix('.pth'))


@pytest.mark.parametrize('changes', [{}, BGR], ids=['rgb', 'bgr'])
@pytest.mark.parametrize('kind', ['stock', 'sapd'])
def test_it_restores_what_the_test_does(pairs, store, tmp_path, kind, changes):
    config = stock_config(pairs, **changes) if kind == 'stock' else sapd_config(pairs, store, **changes)
    model, files = saved(config, tmp_path / 'student')
    restore = build_restorer(*files, 'cpu')
    dataset = DATASETS.build(config['val_dataloader']['dataset'])
    for index in range(len(dataset)):
        sample = dataset[index]
        image = cv2.imread(sample['data_samples'].img_path)[..., ::-1]
        with torch.no_grad():
            data = {'inputs': [sample['inputs']], 'data_samples': [sample['data_samples']]}
            expected = model.test_step(data)[0].output.pred_img
        expected = expected.round().byte().permute(1, 2, 0).numpy()[..., ::-1]
        restored = restore(np.ascontiguousarray(image))
        assert restored.dtype == np.uint8
        assert np.array_equal(restored, expected)
    assert restore.settings['network'] == 'NAFNet'


@pytest.mark.parametrize('changes', [{}, BGR], ids=['rgb', 'bgr'])
def test_the_colours_are_in_order(pairs, tmp_path, changes):
    """A student that changes nothing gives the photo back."""
    config = stock_config(pairs, **changes)
    model = MODELS.build(config['model'])
    torch.nn.init.zeros_(model.generator.ending.weight)
    torch.nn.init.zeros_(model.generator.ending.bias)
    torch.save({'state_dict': model.state_dict()}, tmp_path / 'identity.pth')
    restore = build_restorer(write_config(config, tmp_path / 'config.py'), tmp_path / 'identity.pth', 'cpu')
    photo = np.ascontiguousarray(cv2.imread(str(pairs / 'clean/001.png'))[..., ::-1])
    assert np.array_equal(restore(photo), photo)


def test_the_settings_tell_students_apart(pairs, store, tmp_path):
    configs = {'stock': stock_config(pairs), 'sapd': sapd_config(pairs, store)}
    files = [saved(config, tmp_path / name)[1] for name, config in configs.items()]
    settings = [build_restorer(*each, 'cpu').settings for each in files]
    assert settings[0]['config_sha256'] == settings[1]['config_sha256']  # the student is the same network
    assert settings[0]['checkpoint_sha256'] != settings[1]['checkpoint_sha256']


def test_mistakes_are_named(pairs, tmp_path):
    config = write_config(stock_config(pairs), tmp_path / 'config.py')
    with pytest.raises(SAPDError, match='--restored-by: found no file .*absent.pth'):
        build_restorer(config, tmp_path / 'absent.pth', 'cpu')
    torch.save({'state_dict': {'generator.other': torch.zeros(1)}}, tmp_path / 'other.pth')
    with pytest.raises(SAPDError, match=r'^--restored-by: .*other.pth: its weights are not of NAFNet: .*Missing key'):
        build_restorer(config, tmp_path / 'other.pth', 'cpu')
    broken = Config(stock_config(pairs, **{'model:generator:type': 'NAFNett'}))
    broken.dump(tmp_path / 'broken.py')
    with pytest.raises(
        SAPDError, match="model.generator.type: found 'NAFNett', which is not registered.* mean 'NAFNet'"
    ):
        build_restorer(tmp_path / 'broken.py', tmp_path / 'other.pth', 'cpu')


def test_a_training_takes_the_masks_of_what_a_student_restores(pairs, tmp_path):
    config, student = saved(stock_config(pairs), tmp_path / 'student')[1]
    masks = tmp_path / 'masks'
    command = ['--images', str(pairs / 'rainy'), '--output', str(masks), '--segmenter', 'felzenszwalb']
    assert extract_masks.main([*command, '--restored-by', str(config), str(student)]) == 0
    made = MaskStore(masks)
    assert made.settings['restored_by']['framework'] == 'mmagic'
    assert made.settings['source'] == 'restored'
    sample = DATASETS.build(sapd_config(pairs, masks)['train_dataloader']['dataset'])[0]
    assert sample['data_samples'].sam_mask.max() >= 1


def pure_python(pairs: Path, folder: Path) -> Path:
    """Write the small stock config in MMEngine's new style, with classes instead of names."""
    text = (ROOT / 'tests/adapters_mmagic/pure_python_config.py').read_text(encoding='utf-8')
    (folder / 'pure.py').write_text(text.replace("'PAIRS'", repr(str(pairs))), encoding='utf-8')
    return folder / 'pure.py'


SAPD = """
from mmengine.config import read_base

with read_base():
    from .pure import *  # noqa: F403

from sapd_plugin.mmagic import SAPDHook, SAPDModel, SPDLoss, SPF

model.update(dict(type=SAPDModel, network_spf=dict(type=SPF), spd_loss=dict(type=SPDLoss, loss_weight=0.1)))
"""


def wrapped(loader: dict[str, Any]) -> None:
    """Put the data set of a loader into MMEngine's wrappers."""
    inner = {'type': 'RepeatDataset', 'times': 2, 'dataset': loader['dataset']}
    loader['dataset'] = {'type': 'ConcatDataset', 'datasets': [inner, loader['dataset']]}


@pytest.mark.parametrize('changes', [{}, BGR], ids=['rgb', 'bgr'])
def test_every_kind_of_config_gives_the_same_student(pairs, store, tmp_path, changes, monkeypatch):
    """Text; wrapped data sets; no test set; an unknown model class; pure Python, stock and with SAM priors."""
    config = stock_config(pairs, **changes)
    _, (path, checkpoint) = saved(config, tmp_path / 'student')
    expected = build_restorer(path, checkpoint, 'cpu')
    photo = np.ascontiguousarray(cv2.imread(str(pairs / 'rainy/001.png'))[..., ::-1])
    files = []
    for phases in (('train', 'val', 'test'), ('train',)):
        other = stock_config(pairs, **changes)
        for phase in ('train', 'val', 'test'):
            if phase in phases:
                wrapped(other[f'{phase}_dataloader'])
            else:
                del other[f'{phase}_dataloader']
        files.append(write_config(other, tmp_path / f'{len(files)}.py'))
    unknown = stock_config(pairs, **changes)
    unknown['model'].update(type='MyOwnModel', pixel_loss={'type': 'MyOwnLoss'})
    files.append(write_config(unknown, tmp_path / 'unknown.py'))
    based = sapd_config(pairs, store, **changes)
    based['model']['base_model_type'] = 'MyOwnModel'
    files.append(write_config(based, tmp_path / 'based.py'))
    if not changes:
        files.append(pure_python(pairs, tmp_path))
        (tmp_path / 'pure_sapd.py').write_text(SAPD)
        files.append(tmp_path / 'pure_sapd.py')
    for file in files:
        restore = build_restorer(file, checkpoint, 'cpu')
        assert np.array_equal(restore(photo), expected(photo)), file.name
        assert restore.settings['network'] == 'NAFNet'
        own = file.name in ('unknown.py', 'based.py')
        assert restore.note.startswith("the model 'MyOwnModel' is not registered here, so BaseEdit" if own else '')
        assert bool(restore.note) == own
        network = build_network_from('mmagic', file)
        load_student(network, checkpoint)
        assert torch.equal(network.intro.weight, torch.load(checkpoint)['state_dict']['generator.intro.weight'])


def test_the_settings_of_a_config_in_pure_python_are_stable(pairs, tmp_path):
    """Neither an address in memory nor the style of the checkpoint is part of the masks' fingerprint."""
    path = pure_python(pairs, tmp_path)
    torch.save({'state_dict': MODELS.build(stock_config(pairs)['model']).state_dict()}, tmp_path / 'net.pth')
    first, second = (build_restorer(path, tmp_path / 'net.pth', 'cpu').settings for _ in range(2))
    assert first == second


def test_weights_of_a_loss_are_ignored_and_those_of_a_second_network_are_not(pairs, tmp_path):
    @MODELS.register_module(force=True)
    class TwoNetworks(BaseEditModel):
        def __init__(self, **config):
            super().__init__(**config)
            self.refine = torch.nn.Conv2d(3, 3, 1)

        def forward_tensor(self, inputs, data_samples=None, **kwargs):
            return self.refine(super().forward_tensor(inputs, data_samples, **kwargs))

    config = stock_config(pairs)
    config['model']['type'] = 'TwoNetworks'
    model = MODELS.build(config['model'])
    path, state = write_config(config, tmp_path / 'two.py'), model.state_dict()
    torch.save({'state_dict': {**state, 'perceptual_loss.weight': torch.zeros(1)}}, tmp_path / 'two.pth')
    photo = np.ascontiguousarray(cv2.imread(str(pairs / 'rainy/001.png'))[..., ::-1])
    with torch.no_grad():
        x = torch.from_numpy(photo.transpose(2, 0, 1).copy()).float()[None] / 255
        y = model.eval().forward_tensor(x)[0]
    expected = (255 * y).round().clamp(0, 255).byte().numpy().transpose(1, 2, 0)
    assert np.abs(build_restorer(path, tmp_path / 'two.pth', 'cpu')(photo).astype(int) - expected).max() <= 1
    del state['refine.weight']
    torch.save({'state_dict': state}, tmp_path / 'one.pth')
    with pytest.raises(SAPDError, match=r'one.pth: found no weights of refine.weight, expected those of the model'):
        build_restorer(path, tmp_path / 'one.pth', 'cpu')


@pytest.mark.slow
def test_a_network_of_the_configs_own_imports_is_found_in_the_working_folder(pairs, tmp_path):
    config = stock_config(pairs)
    torch.save({'state_dict': MODELS.build(config['model']).state_dict()}, tmp_path / 'net.pth')
    # It has the name of a network of ours, and keeps it.
    (tmp_path / 'own_archs.py').write_text(
        'from mmagic.models.editors.nafnet.nafnet_net import NAFNet\n'
        'from mmagic.registry import MODELS\n\n'
        '@MODELS.register_module(name="HINet")\n'
        'class Own(NAFNet):\n    pass\n'
    )
    config['model']['generator']['type'] = 'HINet'
    write_config({**config, 'custom_imports': {'imports': ['own_archs']}}, tmp_path / 'own.py')
    write_config(config, tmp_path / 'without.py')
    tools = {name: str(ROOT / 'tools' / f'{name}.py') for name in ('extract_masks', 'inference_cost')}
    command = [tools['extract_masks'], '--images', str(pairs / 'rainy'), '--segmenter', 'felzenszwalb']
    succeed([*command, '--output', 'masks', '--restored-by', 'own.py', 'net.pth', '--device', 'cpu'], tmp_path)
    assert len(MaskStore(tmp_path / 'masks')) == 4
    cost = [tools['inference_cost'], 'without.py', 'net.pth', '--size', '16', '16', '--repeats', '1']
    assert '| net.pth | 16x16 | 5,227 |' in succeed([*cost, '--import', 'own_archs'], tmp_path)
