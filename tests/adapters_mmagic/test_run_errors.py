"""Errors of a run that begins or saves: checkpoints, images and disks are named in one line."""

from __future__ import annotations

import errno
import os
import re
import shutil
from pathlib import Path

import cv2
import pytest
import torch

from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.run_errors import named_parts
from tests.adapters_mmagic.recipes import sapd_config
from tests.adapters_mmagic.test_model import trained

pytestmark = pytest.mark.usefixtures('without_ceremony')
ONE = {'train_cfg:max_iters': 1, 'default_hooks:checkpoint:interval': 1}


@pytest.fixture(scope='module')
def saved(pairs: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of one iteration."""
    folder = tmp_path_factory.mktemp('one') / 'work'
    trained(sapd_config(pairs, store, **ONE), folder)
    return folder / 'iter_1.pth'


FOREIGN = {
    'a list': (lambda state: [1, 2], 'it holds no weights of a generator'),
    'other weights': (lambda state: {'other.weight': torch.zeros(3)}, 'it holds no weights of a generator'),
    'an entry of text': (lambda state: {**state, 'sapd': 'x'}, "its entry 'sapd' is str, expected dict"),
    'half an entry': (
        lambda state: {**state, 'sapd': {'spf': {}, 'mask_fingerprints': []}},
        "its entry 'sapd' lacks random_state",
    ),
    'a random state of text': (
        lambda state: {**state, 'sapd': {**state['sapd'], 'random_state': 'x'}},
        "its entry 'sapd' holds str as random_state",
    ),
    'a random state of numbers': (
        lambda state: {**state, 'sapd': {**state['sapd'], 'random_state': torch.zeros(3)}},
        '',
    ),
    'gradients of another network': (
        lambda state: {**state, 'sapd': {**state['sapd'], 'gradients': [torch.zeros(7)]}},
        '',
    ),
    'no iteration': (lambda state: {**state, 'meta': {}}, "KeyError: 'epoch'"),
    'no logs': (lambda state: {key: value for key, value in state.items() if key != 'message_hub'}, 'message_hub'),
}


@pytest.mark.parametrize('content', FOREIGN)
def test_a_checkpoint_of_other_content_is_refused_by_name(pairs, store, saved, tmp_path, content):
    change, reason = FOREIGN[content]
    file = tmp_path / 'foreign.pth'
    torch.save(change(torch.load(saved)), file)
    config = sapd_config(pairs, store, **ONE)
    config['train_cfg']['max_iters'] = 2
    with pytest.raises(SAPDError, match=rf'(load_from|resume): {file} .*{re.escape(reason)}'), named_parts():
        trained(config, tmp_path / 'work', load_from=str(file), resume=True)


@pytest.mark.parametrize(
    ('key', 'value', 'message'),
    [
        (
            'model:generator:mid_channels',
            4,
            r'found \(8, 3, 3, 3\) as generator.*, and the model of this config has \(4, 3',
        ),
        ('model:network_spf:planes', 6, r'found .* as spf\..*, and the model of this config has'),
    ],
)
def test_weights_that_do_not_fit_a_resumed_model_are_refused(pairs, store, saved, tmp_path, key, value, message):
    config = sapd_config(pairs, store, **ONE, **{key: value})
    config['train_cfg']['max_iters'] = 2
    with pytest.raises(SAPDError, match=rf'load_from: {saved} is not a checkpoint of this kind of run: {message}'):
        trained(config, tmp_path / 'work', load_from=str(saved), resume=True)


def test_the_latest_checkpoint_is_named_too(pairs, store, saved, tmp_path):
    state = torch.load(saved)
    state['sapd'].pop('random_state')
    (tmp_path / 'work').mkdir()
    file = tmp_path / 'work/iter_1.pth'
    torch.save(state, file)
    with pytest.raises(SAPDError, match=rf'load_from: {file} .* lacks random_state'):
        trained(sapd_config(pairs, store, **ONE), tmp_path / 'work', resume=True)


def test_a_file_that_is_not_a_checkpoint_is_refused_as_a_start(pairs, store, tmp_path):
    (tmp_path / 'a.pth').write_text('404: not found')
    with pytest.raises(SAPDError, match=r'load_from: .*a.pth was not written to its end'):
        trained(sapd_config(pairs, store, **ONE), tmp_path / 'work', load_from=str(tmp_path / 'a.pth'))


def test_weights_alone_are_a_start(pairs, store, saved, tmp_path):
    weights = torch.load(saved)['state_dict']
    torch.save(weights, tmp_path / 'weights.pth')
    changes = {**ONE, 'optim_wrapper:optimizer:lr': 0.0}
    runner = trained(sapd_config(pairs, store, **changes), tmp_path / 'work', load_from=str(tmp_path / 'weights.pth'))
    found = runner.model.generator.state_dict()
    assert all(torch.equal(found[name.removeprefix('generator.')], value) for name, value in weights.items())


def test_a_full_disk_is_told_in_one_line(pairs, store, tmp_path, monkeypatch):
    config = sapd_config(pairs, store, **ONE)
    config['train_cfg']['max_iters'] = 2
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        if (tmp_path / 'work/.iter_2.pth.draft').exists():
            raise OSError(errno.ENOSPC, 'No space left on device')
        flush(descriptor)

    monkeypatch.setattr('sapd_plugin.files.os.fsync', fsync)
    message = r'iter_2.pth cannot be written \(No space left on device\). The last whole checkpoint is kept'
    with pytest.raises(SAPDError, match=message), named_parts():
        trained(config, tmp_path / 'work')
    assert [path.name for path in (tmp_path / 'work').glob('*.pth')] == ['iter_1.pth']


@pytest.mark.parametrize('phase', ['train', 'val'])
@pytest.mark.parametrize('workers', [0, 1])
def test_an_image_that_cannot_be_decoded_is_named(pairs, store, tmp_path, phase, workers):
    """Its header is whole, so that only the loader meets it."""
    folder = shutil.copytree(pairs / 'rainy', tmp_path / 'rainy')
    broken = folder / '001.png'
    broken.write_bytes(broken.read_bytes()[:60])
    assert cv2.imread(str(broken)) is None
    changes = {f'{phase}_dataloader:dataset:data_prefix:img': str(folder), f'{phase}_dataloader:num_workers': workers}
    changes |= {'train_dataloader:batch_size': 4, 'train_cfg:val_interval': 1}
    with pytest.raises(SAPDError, match=rf'{broken}: cannot be (read|decoded)'), named_parts():
        trained(sapd_config(pairs, store, **ONE, **changes), tmp_path / 'work')


def test_a_validation_image_of_another_size_than_its_truth_is_named(pairs, store, tmp_path):
    """MMEngine only meets it at the first validation."""
    shutil.copytree(pairs / 'rainy', tmp_path / 'rainy')
    odd = tmp_path / 'rainy/002.png'
    cv2.imwrite(str(odd), cv2.imread(str(odd))[:-1])
    changes = {**ONE, 'val_dataloader:dataset:data_prefix:img': str(tmp_path / 'rainy'), 'train_cfg:val_interval': 1}
    with pytest.raises(SAPDError, match=rf'val_dataloader: validation fails for {odd} \('), named_parts():
        trained(sapd_config(pairs, store, **changes), tmp_path / 'work')
