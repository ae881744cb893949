"""A user's mistakes stop the run before its first step, with a message that says what to do."""

from __future__ import annotations

import shutil

import cv2
import lmdb
import pytest
import torch
from basicsr.data import build_dataset
from basicsr.models import build_model

import sapd_plugin.basicsr  # noqa: F401
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import MaskStore
from tests.adapters_basicsr.recipes import DELETE, parsed, sapd_options
from tests.photos import grey_levels, make_store

OPTIONS = {
    'unknown base': ({'base_model_type': 'SRModle'}, r"base_model_type: found 'SRModle'.*Did you mean 'SRModel'"),
    'base itself': ({'base_model_type': 'SAPDModel'}, r"base_model_type: found 'SAPDModel', expected one of .*SRModel"),
    'Real-ESRGAN': (
        {'base_model_type': 'RealESRGANModel'},
        r'RealESRGANModel cannot be used, because .*pools and crops',
    ),
    'Real-ESRNet': ({'base_model_type': 'RealESRNetModel'}, r'RealESRNetModel cannot be used'),
    'video': ({'base_model_type': 'EDVRModel'}, r'EDVRModel cannot be used, because it trains on clips'),
    'StyleGAN2': ({'base_model_type': 'StyleGAN2Model'}, r'StyleGAN2Model cannot be used'),
    'no SPF': ({'network_spf': DELETE}, r"network_spf: missing; .*'type: SPF'"),
    'SPF type': ({'network_spf:type': 'SPFF'}, r"network_spf.type: found 'SPFF'.*Did you mean 'SPF'"),
    'SPF key': ({'network_spf:encodng': 'planes'}, r"network_spf: unknown key 'encodng'.*Did you mean 'encoding'"),
    'SPF value': ({'network_spf:encoding': 'plane'}, r"network_spf.encoding: found 'plane'.*Did you mean 'planes'"),
    'misspelt block': ({'network_sfp': {}}, r"network_sfp: unknown key. Did you mean 'network_spf'"),
    'misspelt loss': ({'train:spd_opts': {}}, r"train.spd_opts: unknown key. Did you mean 'train.spd_opt'"),
    'no losses': ({'train:spd_opt': DELETE}, r'neither spd_opt nor sgr_opt'),
    'loss type': ({'train:spd_opt:type': 'SPDLos'}, r"train.spd_opt.type: found 'SPDLos'.*Did you mean 'SPDLoss'"),
    'other loss': ({'train:spd_opt': {'type': 'L1Loss'}}, r"train.spd_opt.type: found 'L1Loss', expected SPDLoss"),
    'loss key': ({'train:spd_opt:wieght': 1}, r"train.spd_opt: unknown key 'wieght'"),
    'loss value': ({'train:spd_opt:criterion': 'l1loss'}, r"found 'l1loss', expected one of l1.*Did you mean 'l1'"),
    'sapd key': ({'train:sapd_opt': {'stag': 'joint'}}, r"train.sapd_opt: unknown key 'stag'.*Did you mean 'stage'"),
    'stage': (
        {'train:sapd_opt': {'stage': 'two_stage'}},
        r"'two_stage' starts from a trained student.*pretrain_network_g",
    ),
    'stock data': (
        {'datasets:train:type': 'PairedImageDataset'},
        r"'PairedImageDataset' loads no masks, expected 'PairedI",
    ),
    'scale': ({'scale': 4}, r'network_spf.network: missing. With scale 4 the second network works at the output size'),
    'second network': (
        {
            'network_spf:network': {
                'type': 'EDSR',
                'num_in_ch': 3,
                'num_out_ch': 3,
                'num_feat': 4,
                'num_block': 1,
                'upscale': 2,
            }
        },
        r'network_spf.network: turns .* into \(1, 3, 96, 96\)',
    ),
    'absent checkpoint': (
        {'path:pretrain_network_g': '/absent/net.pth'},
        r'path.pretrain_network_g: no file /absent/net.pth',
    ),
    'absent VGG': (
        {'train:sgr_opt': {'type': 'SGRLoss', 'weights': '/absent/vgg.pth'}},
        r'weights: no file /absent/vgg.pth',
    ),
    'VGG layer': (
        {'train:sgr_opt': {'type': 'SGRLoss', 'layers': ['relu31']}},
        r"layers: found 'relu31', .*Did you mean 'relu3_1'",
    ),
}


@pytest.mark.parametrize('mistake', OPTIONS)
def test_options(pairs, store, tmp_path, mistake):
    changes, message = OPTIONS[mistake]
    with pytest.raises(SAPDError, match=message):
        build_model(parsed(sapd_options(pairs, store, **changes), tmp_path))


def build_training_set(pairs, store, tmp_path, **changes):
    return build_dataset(parsed(sapd_options(pairs, store, **changes), tmp_path)['datasets']['train'])


def test_no_store(pairs, store, tmp_path):
    with pytest.raises(
        SAPDError, match=r'datasets.train.mask_store: missing, expected a folder made by `sapd extract-masks`'
    ):
        build_training_set(pairs, store, tmp_path, **{'datasets:train:mask_store': DELETE})
    with pytest.raises(SAPDError, match=r'absent'):
        build_training_set(pairs, tmp_path / 'absent', tmp_path)


def test_misspelt_dataset_key(pairs, store, tmp_path):
    with pytest.raises(SAPDError, match=r"unknown key 'mask_stor'.*Did you mean 'mask_store'"):
        build_training_set(pairs, store, tmp_path, **{'datasets:train:mask_stor': 'x'})


def test_missing_mask(pairs, tmp_path):
    (tmp_path / 'some').mkdir()
    for name in ('001.png', '002.png'):
        shutil.copy(pairs / 'clean' / name, tmp_path / 'some' / name)
    store = make_store(tmp_path / 'masks', tmp_path / 'some')
    with pytest.raises(SAPDError, match=r"no masks for 2 of 4 images, among them '003'"):
        build_training_set(pairs, store, tmp_path)


def test_wrong_size(pairs, tmp_path):
    (tmp_path / 'small').mkdir()
    for path in (pairs / 'clean').glob('*.png'):
        cv2.imwrite(str(tmp_path / 'small' / path.name), cv2.imread(str(path))[:-1])
    store = make_store(tmp_path / 'masks', tmp_path / 'small')
    with pytest.raises(SAPDError, match=r'the mask of .*001.png is 95x112, the image 96x112'):
        build_training_set(pairs, store, tmp_path)


def test_corrupt_record(pairs, tmp_path):
    store = make_store(tmp_path / 'masks', pairs / 'clean', grey_levels)
    shard = next(store.glob('*.lmdb'))
    with lmdb.open(str(shard)) as env, env.begin(write=True) as transaction:
        record = bytearray(transaction.get(b'002'))
        record[-1] ^= 1
        transaction.put(b'002', bytes(record))
    with pytest.raises(SAPDError, match=r"mask '002': .*checksum.*`sapd extract-masks` again"):
        build_training_set(pairs, store, tmp_path)


def test_wrong_fingerprint(pairs, store, tmp_path):
    right = MaskStore(store).fingerprint
    build_training_set(pairs, store, tmp_path, **{'datasets:train:mask_fingerprint': right})
    with pytest.raises(SAPDError, match=rf"mask_fingerprint: .* has {right}, expected 00ff.*'segmenter': 'test'"):
        build_training_set(pairs, store, tmp_path, **{'datasets:train:mask_fingerprint': '00ff'})


def test_resume_with_other_masks(pairs, store, tmp_path):
    opt = parsed(sapd_options(pairs, store), tmp_path)
    build_model(opt).save(epoch=0, current_iter=1)
    other = make_store(tmp_path / 'other', pairs / 'clean', settings={'segmenter': 'another'})
    opt['datasets']['train']['mask_store'] = str(other)
    state = tmp_path / 'experiments/sapd/training_states/1.state'
    opt['path']['resume_state'] = str(state)
    with pytest.raises(
        SAPDError, match=r'mask_store: its settings fingerprint is \w+, the run to resume began with \w+'
    ):
        build_model(opt).resume_training(torch.load(state))


def test_dataset_without_masks_is_named_at_the_first_batch(pairs, store, tmp_path):
    model = build_model(parsed(sapd_options(pairs, store), tmp_path))
    model.feed_data({'lq': torch.rand(1, 3, 48, 48), 'gt': torch.rand(1, 3, 48, 48)})
    with pytest.raises(SAPDError, match=r'the training batch holds no masks, expected an integer tensor'):
        model.optimize_parameters(1)


def test_a_model_that_exchanges_its_batch_is_named(pairs, store, tmp_path):
    from basicsr.models.sr_model import SRModel
    from basicsr.utils.registry import MODEL_REGISTRY

    class Shuffling(SRModel):
        def feed_data(self, data):
            super().feed_data(data)
            self.gt = self.gt.flip(0)

    MODEL_REGISTRY.register(Shuffling)
    model = build_model(parsed(sapd_options(pairs, store, base_model_type='Shuffling'), tmp_path))
    model.feed_data({'lq': torch.rand(2, 3, 8, 8), 'gt': torch.rand(2, 3, 8, 8), 'mask': torch.ones(2, 1, 8, 8)})
    with pytest.raises(SAPDError, match='Shuffling changes the batch in feed_data'):
        model.optimize_parameters(1)
