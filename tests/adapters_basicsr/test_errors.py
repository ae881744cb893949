"""A user's mistakes stop the run before its first step, with a message that says what to do."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import cv2
import lmdb
import pytest
import torch
from basicsr.models import build_model
from basicsr.models.sr_model import SRModel
from basicsr.utils.registry import MODEL_REGISTRY

from sapd_plugin.basicsr.dataset_options import check_places
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.store import MaskStore
from tests.adapters_basicsr.recipes import parsed, sapd_options, training_set
from tests.photos import make_store
from tests.recipes import DELETE

GAN = {
    'base_model_type': 'SRGANModel',
    'train:gan_opt': {'type': 'GANLoss', 'gan_type': 'vanilla', 'loss_weight': 0.1},
    'train:optim_d': {'type': 'Adam', 'lr': 1e-4},
}
OPTIONS = {
    'unknown base': ({'base_model_type': 'SRModle'}, r"base_model_type: found 'SRModle'.*Did you mean 'SRModel'"),
    'base, list': (
        {'base_model_type': ['SRModel']},
        r"base_model_type: found \['SRModel'\], expected one of .*SRModel",
    ),
    'base, number': ({'base_model_type': 3}, r'base_model_type: found 3, expected one of .*SRModel'),
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
    'several GPUs in one process': ({'num_gpu': 2}, r'num_gpu: found 2 without a launcher.*torchrun'),
    'frozen': (
        {'train:sapd_opt': {'teacher': 'frozen'}},
        r'sapd_opt.freeze_after: is 0.*pretrain_network_spf is empty',
    ),
    'every': ({'train:sapd_opt:every': '2'}, r"train.sapd_opt.every: found '2', expected an integer >= 1"),
    'loss at the top': (
        {'spd_opt': {'type': 'SPDLoss'}, 'train:spd_opt': DELETE},
        r"spd_opt: nothing reads this key here. Did you mean 'train.spd_opt'",
    ),
    "MMagic's key": ({'train:sgr_loss': {}}, r"train.sgr_loss: nothing reads this .* Did you mean 'train.sgr_opt'"),
    'masks at the top': (
        {'mask_store': 'x', 'datasets:train:mask_store': DELETE},
        r"mask_store: nothing reads this key here. Did you mean 'datasets.train.mask_store'",
    ),
    'SPF in train': ({'network_spf': DELETE, 'train:network_spf': {}}, r"Did you mean 'network_spf'"),
    'no kind of files': ({'datasets:train:io_backend': {}}, r'datasets.train.io_backend.type: missing'),
    'another kind of files': (
        {'datasets:train:io_backend:type': 'hdf5'},
        r"io_backend.type: found 'hdf5', expected one of disk",
    ),
    'misspelt block': ({'network_sfp': {}}, r"network_sfp: unknown key. Did you mean 'network_spf'"),
    'misspelt loss': ({'train:spd_opts': {}}, r"train.spd_opts: unknown key. Did you mean 'train.spd_opt'"),
    'no losses': ({'train:spd_opt': DELETE}, r'neither spd_opt nor sgr_opt'),
    'other loss': ({'train:spd_opt': {'type': 'L1Loss'}}, r"train.spd_opt.type: found 'L1Loss', expected SPDLoss"),
    'loss key': ({'train:spd_opt:wieght': 1}, r"train.spd_opt: unknown key 'wieght'"),
    'sapd key': ({'train:sapd_opt': {'stag': 'joint'}}, r"train.sapd_opt: unknown key 'stag'.*Did you mean 'stage'"),
    'stage': (
        {'train:sapd_opt:stage': 'two_stage'},
        r"'two_stage' starts from a trained student.*pretrain_network_g",
    ),
    'stock data': (
        {'datasets:train:type': 'PairedImageDataset'},
        r"'PairedImageDataset' loads no masks, expected 'PairedI",
    ),
    'context': (
        {'network_spf': {'type': 'SPF', 'context': 'image'}},
        r'datasets.train.mask_context: missing, expected true: network_spf.context is image',
    ),
    'scale': ({'scale': 4}, r'network_spf.network: missing. With scale 4 the second network works at the output size'),
    'second network': (
        {'network_spf:network': {'type': 'SRVGGNetCompact', 'num_conv': 1, 'upscale': 2}},
        r'network_spf.network: turns .* into \(2, 3, 96, 96\)',
    ),
    'hints of another size': (
        {
            'scale': 2,
            'network_g:upscale': 2,
            'network_spf:network': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 1},
            'train:spd_opt:feature_weight': 0.5,
        },
        r'train.spd_opt.feature_weight: no layer of the same name has features of the same size',
    ),
    'second network, text': (
        {'network_spf:network': 'DnCNN'},
        r"network_spf.network: found 'DnCNN', expected a block with 'type'",
    ),
    'second network, list': (
        {'network_spf:network': ['DnCNN']},
        r"network_spf.network: found \['DnCNN'\], expected a block with 'type'",
    ),
    'second network, type': (
        {'network_spf:network': {'type': 'DnCN'}},
        r"network_spf.network.type: found 'DnCN'.*Did you mean 'DnCNN'",
    ),
    'second network, key': (
        {'network_spf:network': {'type': 'DnCNN', 'in_n': 3}},
        r"network_spf.network: unknown key 'in_n'.*Did you mean 'in_nc'",
    ),
    'several images for one': (
        {'network_g': {'type': 'MIMOUNet', 'num_res': 1, 'base_channel': 4}},
        r'train.pixel_opt: L1Loss does not take what network_g returns, 3 images .*Expected type: MultiOutputLoss',
    ),
    'a discriminator of other patches': (
        {**GAN, 'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 4}},
        r'network_d: VGGStyleDiscriminator does not take a patch of 48x48 .datasets.train.gt_size. with 3 channels',
    ),
    'a larger image': (
        {'network_g:upscale': 2, 'network_spf:network': {'type': 'SRVGGNetCompact', 'num_conv': 1, 'upscale': 1}},
        r'scale: found 1, but network_g turns an image of 64x64 into 128x128',
    ),
    'absent checkpoint': (
        {'path:pretrain_network_g': '/absent/net.pth'},
        r'path.pretrain_network_g: no file /absent/net.pth',
    ),
}


@pytest.mark.parametrize('mistake', OPTIONS)
def test_options(pairs, store, tmp_path, mistake):
    changes, message = OPTIONS[mistake]
    with pytest.raises(SAPDError, match=message):
        build_model(parsed(sapd_options(pairs, store, **changes), tmp_path))


def test_a_list_that_is_a_named_pipe_is_named(pairs, store, tmp_path):
    os.mkfifo(tmp_path / 'list.txt')
    opt = sapd_options(pairs, store, **{'datasets:train:meta_info_file': str(tmp_path / 'list.txt')})
    with pytest.raises(SAPDError, match=r'datasets.train.meta_info_file: .*list.txt is not a regular file'):
        check_places(opt)


def test_a_list_that_is_not_text_is_named(pairs, store, tmp_path):
    (tmp_path / 'list.txt').write_bytes(b'001\xe9.png (80,120,3)\n')
    opt = sapd_options(pairs, store, **{'datasets:train:meta_info_file': str(tmp_path / 'list.txt')})
    with pytest.raises(SAPDError, match=r"meta_info_file: .*list.txt cannot be read \('utf-8' codec can't decode"):
        check_places(opt)


@pytest.mark.parametrize('side', ['clean', 'rainy'])
def test_an_image_that_cannot_be_decoded_is_named_when_it_is_met(pairs, tmp_path, side):
    shutil.copytree(pairs, tmp_path / 'pairs')
    store = make_store(tmp_path / 'masks', pairs / 'clean')
    file = tmp_path / 'pairs' / side / '001.png'
    os.truncate(file, file.stat().st_size // 2)
    dataset = training_set(sapd_options(tmp_path / 'pairs', store, **{'datasets:train:mask_check': 0}), tmp_path)
    with pytest.raises(SAPDError, match=rf'{side}/001.png: cannot be decoded, expected an image'):
        dataset[0]


DATA = {
    'no store': ({'mask_store': DELETE}, r'datasets.train.mask_store: missing, expected a folder made by `sapd ex'),
    'store of an absent user': (
        {'mask_store': '~absent-user/masks'},
        r'^datasets.train.mask_store: mask store ~absent-user/masks: found no readable manifest.json',
    ),
    'absent store': (
        {'mask_store': '/absent/masks'},
        r'^datasets.train.mask_store: mask store /absent/masks: found no readable manifest.json',
    ),
    'key': ({'mask_stor': 'x'}, r"unknown key 'mask_stor'.*Did you mean 'mask_store'"),
    'fingerprint': ({'mask_fingerprint': '00ff'}, r"mask_fingerprint: .*, expected 00ff.*'segmenter': 'test'"),
}


@pytest.mark.parametrize('mistake', DATA)
def test_data(pairs, store, tmp_path, mistake):
    changes, message = DATA[mistake]
    opt = sapd_options(pairs, store, **{f'datasets:train:{key}': value for key, value in changes.items()})
    with pytest.raises(SAPDError, match=message):
        training_set(opt, tmp_path)


def test_the_right_fingerprint_is_accepted(pairs, store, tmp_path):
    right = MaskStore(store).fingerprint
    assert len(training_set(sapd_options(pairs, store, **{'datasets:train:mask_fingerprint': right}), tmp_path)) == 4


def missing(images: Path, store: Path) -> None:
    for name in ('003.png', '004.png'):
        (images / name).unlink()
    make_store(store, images)


def wrong_size(images: Path, store: Path) -> None:
    for path in images.glob('*.png'):
        cv2.imwrite(str(path), cv2.imread(str(path))[:-1])
    make_store(store, images)


def corrupt(images: Path, store: Path) -> None:
    make_store(store, images)
    with lmdb.open(str(next(store.glob('*.lmdb')))) as env, env.begin(write=True) as transaction:
        record = bytearray(transaction.get(b'002'))
        record[-1] ^= 1
        transaction.put(b'002', bytes(record))


@pytest.mark.parametrize(
    ('fault', 'message'),
    [
        (missing, r"no masks for 2 of 4 images, among them '003'"),
        (wrong_size, r'the mask of .*001.png is 95x112, the image 96x112'),
        (corrupt, r"mask '002': .*checksum.*`sapd extract-masks` again"),
    ],
)
def test_masks(pairs, tmp_path, fault, message):
    shutil.copytree(pairs / 'clean', tmp_path / 'images')
    fault(tmp_path / 'images', tmp_path / 'masks')
    with pytest.raises(SAPDError, match=message):
        training_set(sapd_options(pairs, tmp_path / 'masks'), tmp_path)


def test_resume_with_other_masks(pairs, store, tmp_path):
    opt = parsed(sapd_options(pairs, store), tmp_path)
    build_model(opt).save(epoch=0, current_iter=1)
    other = make_store(tmp_path / 'other', pairs / 'clean', settings={'segmenter': 'another'})
    opt['datasets']['train']['mask_store'] = str(other)
    state = tmp_path / 'experiments/sapd/training_states/1.state'
    opt['path']['resume_state'] = str(state)
    message = r'mask_store: its fingerprint is \w+, the run to resume started with \w+'
    with pytest.raises(SAPDError, match=message):
        build_model(opt).resume_training(torch.load(state))


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'schedulers': []}, r'path.resume_state: holds 0 schedulers, expected 2'),
        ({'optimizers': []}, r'path.resume_state: holds 0 optimizers, expected 2. A stock run cannot be resumed'),
        ({'optimizers': [{}, {}]}, r'path.resume_state: does not fit the optimizers and schedulers .*KeyError'),
    ],
)
def test_a_state_of_another_training_is_named(pairs, store, tmp_path, change, message):
    opt = parsed(sapd_options(pairs, store), tmp_path)
    model = build_model(opt)
    model.save(epoch=0, current_iter=1)
    state = torch.load(tmp_path / 'experiments/sapd/training_states/1.state')
    with pytest.raises(SAPDError, match=message):
        model.resume_training({**state, **change})


def test_dataset_without_masks_is_named_at_the_first_batch(pairs, store, tmp_path):
    model = build_model(parsed(sapd_options(pairs, store), tmp_path))
    model.feed_data({'lq': torch.rand(1, 3, 48, 48), 'gt': torch.rand(1, 3, 48, 48)})
    with pytest.raises(SAPDError, match=r'the training batch holds no masks, expected an integer tensor'):
        model.optimize_parameters(1)


def test_a_model_that_exchanges_its_batch_is_named(pairs, store, tmp_path):
    class Shuffling(SRModel):
        def feed_data(self, data):
            super().feed_data(data)
            self.gt = self.gt.flip(0)

    MODEL_REGISTRY.register(Shuffling)
    model = build_model(parsed(sapd_options(pairs, store, base_model_type='Shuffling'), tmp_path))
    model.feed_data({'lq': torch.rand(2, 3, 8, 8), 'gt': torch.rand(2, 3, 8, 8), 'mask': torch.ones(2, 1, 8, 8)})
    with pytest.raises(SAPDError, match='Shuffling changes the batch in feed_data'):
        model.optimize_parameters(1)
