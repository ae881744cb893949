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
from sapd_plugin.mmagic.restorer import build_restorer
from sapd_plugin.priors.store import MaskStore
from tests.adapters_mmagic.recipes import sapd_config, stock_config, write_config

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
    with pytest.raises(SAPDError, match=r'does not restore an image: RuntimeError: .*generator.other'):
        build_restorer(config, tmp_path / 'other.pth', 'cpu')
    broken = Config(stock_config(pairs, **{'model:generator:type': 'NAFNett'}))
    broken.dump(tmp_path / 'broken.py')
    with pytest.raises(SAPDError, match='does not restore an image: KeyError: .*NAFNett'):
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
