"""Every network in BasicSR with the delta: trains, validates, saves, resumes, loads strictly without the plugin."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from basicsr.archs import build_network
from basicsr.data import build_dataloader, build_dataset
from basicsr.utils.registry import ARCH_REGISTRY

from sapd_plugin.archs import NETWORKS
from tests.adapters_basicsr.recipes import sapd_options
from tests.adapters_basicsr.test_model import SWINIR, resume_paths, session
from tests.archs_tables import TINY
from tests.networks import assert_equal_states

# BasicSR's own networks, at the image's own size.
OWN = {
    'EDSR': {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 8, 'num_block': 1, 'upscale': 1},
    'RCAN': {'num_in_ch': 3, 'num_out_ch': 3, 'num_feat': 16, 'num_group': 1, 'num_block': 1, 'upscale': 1},
    'SwinIR': SWINIR,
}
BLOCKS: dict[str, dict[str, Any]] = {
    **{name: {**settings, 'type': name} for name, settings in OWN.items()},
    **{f'{n}_sapd' if n in OWN else n: {'type': f'{n}_sapd' if n in OWN else n, **TINY[n]} for n in NETWORKS},
}


@pytest.mark.parametrize('name', BLOCKS)
def test_train_validate_save_resume_and_load(pairs, store, vgg_weights, tmp_path, name):
    changes: dict[str, Any] = {'network_g': BLOCKS[name]}
    if hasattr(ARCH_REGISTRY.get(name), 'output_index'):
        changes['train:pixel_opt'] = {'type': 'MultiOutputLoss', 'criteria': {'type': 'L1Loss'}}
    opt = sapd_options(pairs, store, vgg_weights, **changes)
    model = session(opt, tmp_path, 1)
    before = {key: value.clone() for key, value in model.net_g.state_dict().items()}
    model.save(epoch=0, current_iter=1)
    whole = session(opt, tmp_path / 'whole', 2)
    assert any(not torch.equal(value, before[key]) for key, value in whole.net_g.state_dict().items())
    assert {'l_pix', 'l_spf', 'l_spd', 'l_sgr'} <= whole.log_dict.keys()
    assert np.isfinite(list(whole.log_dict.values())).all()

    resumed = session(opt, tmp_path, 1, resume_paths(opt, tmp_path, 1), start=1)
    for net in ('net_g', 'net_g_ema', 'net_spf'):
        assert_equal_states(getattr(whole, net), getattr(resumed, net))

    data = whole.opt['datasets']['val']
    whole.validation(build_dataloader(build_dataset(data), data, num_gpu=0, seed=0), 2, None, False)
    assert 5 < whole.metric_results['psnr'] < 60

    # BasicSR's own class, or the plain module: neither knows of the plugin's branch.
    whole.save(epoch=-1, current_iter=-1)
    saved = torch.load(tmp_path / 'whole/experiments/sapd/models/net_g_latest.pth', weights_only=True)
    assert list(saved) == ['params', 'params_ema']
    student = build_network(dict(BLOCKS[name])).eval()
    for weights in saved.values():
        student.load_state_dict(weights, strict=True)
    whole.feed_data({'lq': torch.rand(1, 3, 40, 56)})
    whole.test()
    with torch.no_grad():
        assert torch.equal(student(whole.lq), whole.output)
