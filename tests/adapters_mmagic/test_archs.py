"""Every network in MMagic with the delta: trains, validates, saves, resumes, loads strictly without the plugin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from mmagic.registry import MODELS
from torch import nn

from sapd_plugin.archs import NETWORKS
from tests.adapters_mmagic.recipes import sapd_config
from tests.adapters_mmagic.test_model import trained
from tests.archs_tables import TINY
from tests.networks import assert_equal_states

NAFNET = {'img_channels': 3, 'mid_channels': 4, 'enc_blk_nums': [1, 1], 'middle_blk_num': 1, 'dec_blk_nums': [1, 1]}
RESTORMER = {'dim': 8, 'num_blocks': [1, 1, 1, 1], 'num_refinement_blocks': 1, 'heads': [1, 1, 2, 2]}
# MMagic's own networks, at the image's own size.
OWN = {
    'NAFNet': NAFNET,
    'NAFNetLocal': {**NAFNET, 'train_size': (1, 3, 24, 24)},
    'Restormer': RESTORMER,
    'EDSR': {'in_channels': 3, 'out_channels': 3, 'mid_channels': 8, 'num_blocks': 1, 'upscale_factor': 1},
    'SwinIR': {'embed_dim': 12, 'depths': [2], 'num_heads': [2], 'window_size': 8, 'img_size': 48, 'upscale': 1},
}
BLOCKS: dict[str, dict[str, Any]] = {
    **{name: {'type': name, **settings} for name, settings in OWN.items()},
    **{f'{n}_sapd' if n in OWN else n: {'type': f'{n}_sapd' if n in OWN else n, **TINY[n]} for n in NETWORKS},
}


@pytest.mark.usefixtures('without_ceremony')
@pytest.mark.parametrize('name', BLOCKS)
def test_train_validate_save_resume_and_load(pairs, store, vgg_weights, tmp_path, name):
    changes: dict[str, Any] = {
        'model:generator': BLOCKS[name],
        'train_cfg:max_iters': 2,
        'train_cfg:val_interval': 2,
        'default_hooks:checkpoint:interval': 1,
    }
    if hasattr(MODELS.get(name), 'output_index'):
        changes['model:pixel_loss'] = {'type': 'MultiOutputLoss', 'criteria': {'type': 'L1Loss'}}
    config = sapd_config(pairs, store, vgg_weights, **changes)
    whole = trained(config, tmp_path / 'whole')
    logged = whole.message_hub.log_scalars
    for loss in ('loss', 'loss_spf', 'loss_spd', 'loss_sgr'):
        assert np.isfinite(logged[f'train/{loss}'].current())
    assert 5 < logged['val/PSNR'].current() < 60

    saved = [torch.load(tmp_path / f'whole/iter_{k}.pth')['state_dict'] for k in (1, 2)]
    assert any(not torch.equal(saved[0][key], saved[1][key]) for key in saved[0])
    resumed = trained(config, tmp_path / 'resumed', load_from=str(tmp_path / 'whole/iter_1.pth'), resume=True)
    assert_equal_states(whole.model, resumed.model)

    # MMagic's own class, or the plain module: neither knows of the plugin's branch.
    assert all(key.startswith('generator.') for key in saved[1])
    student = MODELS.build(dict(BLOCKS[name])).eval()
    student.load_state_dict({key[len('generator.') :]: value for key, value in saved[1].items()}, strict=True)
    image = torch.rand(1, 3, 48, 56)
    with torch.no_grad():
        assert torch.equal(student(image), whole.model.eval()(image, mode='tensor'))


@pytest.mark.parametrize('name', [name for name in ('NAFNet', 'NAFNetLocal', 'Restormer') if name in NETWORKS])
def test_mmagic_s_own_networks_have_the_authors_names(name):
    """And so load the checkpoints that ours load, with the same outputs."""
    settings = {k: OWN[name][k] for k in RESTORMER} if name == 'Restormer' else TINY[name]
    torch.manual_seed(0)
    ours = NETWORKS[name](**settings).eval()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, std=0.1)
    theirs = MODELS.build({'type': name, **OWN[name]}).eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    image = torch.rand(1, 3, 48, 56)
    with torch.no_grad():
        assert torch.allclose(theirs(image), ours(image), rtol=1e-4, atol=1e-5)
