"""The delta of configs in pure Python and of wrapped data sets: what ``sapd add`` writes, ``sapd check`` accepts."""

from __future__ import annotations

from pathlib import Path

import pytest
from mmagic.datasets import BasicImageDataset
from mmengine.config import Config

import sapd_plugin.mmagic as plugin
from sapd_plugin.cli import add, check
from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.delta import inner_datasets, plain, read_config
from sapd_plugin.mmagic.pure_python import pure_python
from tests.adapters_mmagic.recipes import stock_config, write_config
from tests.adapters_mmagic.test_restorer import pure_python as write_pure
from tests.adapters_mmagic.test_restorer import wrapped


def added(stock: Path, masks: Path, *more: str) -> Path:
    output = stock.with_name(f'{stock.stem}_sapd.py')
    assert add.main([str(stock), '--masks', str(masks), '--losses', 'spd', *more]) == 0
    return output


@pytest.mark.parametrize('folder', ['.', 'below', '../beside'])
def test_a_config_in_pure_python_gets_a_delta_of_its_kind(pairs, store, tmp_path, folder):
    (tmp_path / 'own').mkdir()
    stock, place = write_pure(pairs, tmp_path / 'own'), (tmp_path / 'own' / folder).resolve()
    place.mkdir(exist_ok=True)
    if folder == '../beside':
        (tmp_path / 'own' / '__init__.py').write_text('')
    output = place / 'sapd.py'
    added(stock, store, '-o', str(output), '--spf', 'context=image')
    text = output.read_text(encoding='utf-8')
    module = {'.': '.pure', 'below': '..pure', '../beside': '..own.pure'}[folder]
    assert f'with read_base():\n    from {module} import *' in text
    config, before = read_config(str(output)), read_config(str(stock))
    assert config.model.type is plugin.SAPDModel
    assert plain(config.model.generator) == plain(before.model.generator)
    assert plain(config.model.network_spf) == {'type': plugin.SPF, 'context': 'image'}
    assert plain(config.model.spd_loss) == {'type': plugin.SPDLoss, 'loss_weight': 0.1}
    dataset = config.train_dataloader.dataset
    assert (dataset.type, dataset.mask_store, dataset.mask_context) == (plugin.PairedImageMaskDataset, str(store), True)
    assert len(dataset.pipeline) == len(before.train_dataloader.dataset.pipeline)
    assert config.default_hooks.sapd.type is plugin.SAPDHook
    assert config.default_hooks.checkpoint.interval == 4
    assert check.main([str(output), '--no-timing']) == 0


@pytest.mark.parametrize('repeated', [False, True])
def test_every_data_set_below_a_wrapper_gets_masks(pairs, store, tmp_path, capsys, repeated):
    config = stock_config(pairs)
    if repeated:
        inner = config['train_dataloader']['dataset']
        config['train_dataloader']['dataset'] = {'type': 'RepeatDataset', 'times': 3, 'dataset': inner}
    else:
        wrapped(config['train_dataloader'])
    output = added(write_config(config, tmp_path / 'own.py'), store)
    made = Config.fromfile(output)
    before = list(inner_datasets(config['train_dataloader']['dataset']))
    after = list(inner_datasets(made.train_dataloader.dataset))
    assert [where for where, _ in after] == [where for where, _ in before]
    assert len(after) == (1 if repeated else 2)
    for (_, old), (_, new) in zip(before, after):
        assert {**old, 'type': 'PairedImageMaskDataset', 'mask_store': str(store)} == plain(new)
    capsys.readouterr()
    assert check.main([str(output), '--no-timing']) == 0
    assert 'ok       masks: 4 training images' in capsys.readouterr().out  # of the first of the inner ones


def test_a_base_that_python_cannot_import_is_named():
    with pytest.raises(SAPDError, match=r'^my-config.py: a config in pure Python is imported by its name, expected'):
        pure_python({}, 'my-config.py', hooks=True)


def test_classes_of_the_base_are_imported_by_their_names():
    blocks = {
        'train_dataloader': {'dataset': {'type': 'PairedImageMaskDataset', 'base_dataset_type': BasicImageDataset}},
        'default_hooks': {'sapd': {'type': 'SAPDHook'}},
    }
    text = pure_python(blocks, 'a/b.py', hooks=False)
    assert 'from mmagic.datasets.basic_image_dataset import BasicImageDataset' in text
    assert (
        "train_dataloader['dataset'].update(dict(type=PairedImageMaskDataset, base_dataset_type=BasicImageDataset))"
        in text
    )
    assert 'default_hooks = dict(sapd=dict(type=SAPDHook))' in text
    assert 'from .a.b import *' in text
    assert 'from sapd_plugin.mmagic import PairedImageMaskDataset, SAPDHook\n' in text
