"""Published checkpoints in MMagic: loaded into the generator, or refused."""

from __future__ import annotations

import types

import pytest
import torch
from mmagic.registry import HOOKS, MODELS

from sapd_plugin.errors import SAPDError
from tests.adapters_mmagic.recipes import stock_config


@pytest.fixture
def model(pairs):
    return MODELS.build({**stock_config(pairs)['model'], 'generator': {'type': 'DnCNN', 'nc': 4, 'nb': 3}})


def after_load(model, checkpoint):
    HOOKS.build({'type': 'PublishedCheckpointHook'}).after_load_checkpoint(
        types.SimpleNamespace(model=model), checkpoint
    )
    return checkpoint


@pytest.mark.parametrize('group', [None, 'params', 'state_dict'])
@pytest.mark.parametrize('prefix', ['', 'module.'])
def test_bare_networks_are_renamed(model, group, prefix):
    state = {f'{prefix}{key}': value + 1 for key, value in model.generator.state_dict().items()}
    checkpoint = after_load(model, dict(state) if group is None else {group: dict(state), 'iter': 3})
    assert set(checkpoint) == {'state_dict'}
    renamed = checkpoint['state_dict']
    assert {f'generator.{key}' for key in model.generator.state_dict()} == set(renamed)
    for key, value in state.items():
        assert torch.equal(renamed['generator.' + key.removeprefix('module.')], value)


def test_own_checkpoints_pass(model):
    checkpoint = {'state_dict': dict(model.state_dict()), 'meta': {}}
    assert after_load(model, dict(checkpoint)) == checkpoint


def test_others_are_refused(model):
    state = dict(model.generator.state_dict())
    short = {key: value for key, value in state.items() if key != 'model.2.bias'}
    with pytest.raises(SAPDError, match="has no 'model.2.bias'"):
        after_load(model, short)
    with pytest.raises(SAPDError, match="has 'model.9.bias', which model.generator lacks"):
        after_load(model, {**state, 'model.9.bias': torch.zeros(4)})
    with pytest.raises(SAPDError, match=r"'model.0.bias' is \(5,\), model.generator expects \(4,\)"):
        after_load(model, {**state, 'model.0.bias': torch.zeros(5)})
