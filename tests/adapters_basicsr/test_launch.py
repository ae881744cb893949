"""The train command's own part: its command line, what it checks first, and how a mistake ends it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import basicsr.train
import pytest
import torch
from basicsr.data.data_util import paired_paths_from_lmdb
from basicsr.data.prefetch_dataloader import CUDAPrefetcher
from basicsr.models.sr_model import SRModel
from basicsr.utils import get_root_logger
from basicsr.utils.options import parse_options
from basicsr.utils.registry import ARCH_REGISTRY, MODEL_REGISTRY

from sapd_plugin.basicsr import test, train
from sapd_plugin.basicsr.batches import Batches
from sapd_plugin.basicsr.launch import build_checked, launched
from sapd_plugin.basicsr.options import check_options
from sapd_plugin.errors import SAPDError
from sapd_plugin.mistakes import told_in_one_line
from tests.adapters_basicsr.recipes import parsed, sapd_options, stock_options, write_yaml
from tests.photos import ROOT, run
from tests.recipes import DELETE


@pytest.mark.parametrize('option', ['--local-rank=1', '--local_rank=1', '--local-rank 1'])
def test_both_spellings_of_the_local_rank_are_read(pairs, store, tmp_path, monkeypatch, option):
    path = write_yaml(sapd_options(pairs, store), tmp_path / 'opt.yml')
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path), *option.split()])
    with launched(basicsr.train):
        opt, args = basicsr.train.parse_options(str(tmp_path))
    assert args.local_rank == 1
    assert opt['name'] == 'sapd'
    assert basicsr.train.parse_options is parse_options


def test_modules_of_the_users_own_are_imported_first(pairs, store, tmp_path, monkeypatch):
    lines = 'from basicsr.utils.registry import ARCH_REGISTRY', '@ARCH_REGISTRY.register()', 'class OfAUser: pass'
    (tmp_path / 'module_of_a_user.py').write_text('\n'.join(lines))
    path = write_yaml(sapd_options(pairs, store), tmp_path / 'opt.yml')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'path', [*sys.path])
    monkeypatch.setattr(sys, 'argv', ['train.py', '--import', 'module_of_a_user', '-opt', str(path), '--auto_resume'])
    with launched(basicsr.train):
        opt, _ = basicsr.train.parse_options(str(tmp_path))
    assert (opt['name'], opt['auto_resume']) == ('sapd', True)
    assert ARCH_REGISTRY.get('OfAUser')
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path), '--import=absent_module'])
    with pytest.raises(SAPDError, match="--import: found no module 'absent_module', expected"), launched(basicsr.train):
        pass


@pytest.mark.parametrize(
    ('text', 'arguments', 'message'),
    [
        (None, [], r'-opt: .*opt.yml cannot be read \(No such file or directory\), expected'),
        ('name: [1', [], r'-opt: .*opt.yml: not a BasicSR YAML'),
        ('network_spf: {type: SPF}\nname: a', [], r'num_gpu: missing'),
        ('network_spf: {}\nname: a\nnum_gpu: 0\npath: {}\ndatasets: ~', [], r'datasets: found None, expected a block'),
        ('', ['--force_yml', 'train'], r'--force_yml: not enough values'),
        ('', ['--force_yml', 'trian:total_iter=3'], r"--force_yml: KeyError: 'trian'"),
    ],
)
def test_what_cannot_be_read_ends_in_one_line(pairs, store, tmp_path, monkeypatch, capsys, text, arguments, message):
    path = tmp_path / 'opt.yml'
    if text:
        path.write_text(text)
    elif text is not None:
        write_yaml(sapd_options(pairs, store), path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path), *arguments])
    with pytest.raises(SystemExit) as ended:
        train.main()
    assert ended.value.code == 2
    *_, last = capsys.readouterr().err.splitlines()
    assert last.startswith('error: ')
    assert re.search(message, last), last


def test_a_mistake_stops_training_before_it_makes_folders(pairs, store, tmp_path, monkeypatch, capsys):
    changes = {'train:total_iter': '1e5', 'datasets:train:dataroot_lq': '/absent'}
    for key, found in (
        (None, "train.total_iter: found '1e5', expected a number >= 1. In YAML, write 100000.0."),
        ('train:total_iter', 'datasets.train.dataroot_lq: found no folder /absent.'),
    ):
        if key:
            changes.pop(key)
        path = write_yaml(sapd_options(pairs, store, **changes), tmp_path / 'opt.yml')
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path)])
        with pytest.raises(SystemExit):
            train.main()
        assert capsys.readouterr().err.splitlines()[-1] == f'error: {found}'
        assert [item.name for item in tmp_path.iterdir()] == ['opt.yml']


def test_an_error_of_a_worker_is_told_without_its_traceback(capsys):
    def fail():
        raise SAPDError(
            'Caught SAPDError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n  File "x"\n'
            'sapd_plugin.errors.SAPDError: mask of 001: damaged.\n'
        )

    with pytest.raises(SystemExit) as ended, told_in_one_line('--auto_resume'):
        fail()
    assert ended.value.code == 2
    assert capsys.readouterr().err == 'error: mask of 001: damaged.\n'


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_in_one_line_that_says_how_to_resume(number, pairs, store, tmp_path, monkeypatch, capsys):
    """And SIGTERM, which would leave the workers of the data loader behind."""
    path = write_yaml(sapd_options(pairs, store), tmp_path / 'opt.yml')
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(path)])
    monkeypatch.setattr(basicsr.train, 'train_pipeline', lambda root: signal.raise_signal(number))
    monkeypatch.setattr(basicsr.train, 'load_resume_state', basicsr.train.load_resume_state)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended:
            train.main()
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended.value.code == 130
    assert (
        capsys.readouterr().err
        == 'Interrupted. To resume from the last saved state, if there is one, add --auto_resume.\n'
    )


@pytest.mark.slow
def test_the_stock_train_tool_with_the_plugin_in_the_yaml_names_the_mistake_before_it_makes_folders(
    pairs, store, tmp_path
):
    opt = sapd_options(pairs, store, **{'train:sapd_opt:every': '2'})
    path = write_yaml(opt, tmp_path / 'opt.yml', tagged=True)
    code = f'import sapd_plugin.compat as c; c.alias_functional_tensor(); import basicsr.train as t; t.train_pipeline({str(tmp_path)!r})'
    found = run(['-c', code, '-opt', str(path)], tmp_path)
    assert found.returncode == 1
    assert found.stderr.splitlines()[-1] == (
        "sapd_plugin.errors.SAPDError: train.sapd_opt.every: found '2', expected an integer >= 1. In YAML, write 2."
    )
    assert not (tmp_path / 'experiments').exists()


def test_vgg_is_found_where_basicsr_keeps_it(pairs, store, vgg_weights, tmp_path, monkeypatch):
    from basicsr.archs.vgg_arch import VGG_PRETRAIN_PATH

    from sapd_plugin.core import find_vgg
    from sapd_plugin.core.perceptual import TORCHVISION_FILE

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv('SAPD_VGG_CHECKPOINT', raising=False)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    assert find_vgg() is None
    cached, own = tmp_path / 'hub/checkpoints' / TORCHVISION_FILE, Path(VGG_PRETRAIN_PATH)
    for place in (cached, own):
        place.parent.mkdir(parents=True)
        place.write_bytes(vgg_weights.read_bytes())
        assert find_vgg() == place


def only_mistake(monkeypatch, capsys, folder: Path, options: dict[str, Any], main=train.main) -> str:
    """Run the train or test command with options that have a mistake; return its last line."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, 'argv', ['train.py', '-opt', str(write_yaml(options, folder / 'opt.yml'))])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


DATA = {
    'a file': ('dataroot_gt', 'clean/001.png', r'datasets.train.dataroot_gt: .*/001.png is a file, expected a folder'),
    'fewer images': ('dataroot_lq', 'fewer', r'datasets.train: .*different number of images: 3, 4'),
    'no images': ('dataroot_lq', 'none', r'datasets.train: .*different number of images: 0, 4'),
    'an absent list': ('meta_info_file', 'absent.txt', r'datasets.train.meta_info_file: found no file .*absent.txt'),
    'an empty list': ('meta_info_file', 'empty.txt', r'datasets.train: found no images in .*empty.txt, expected at le'),
}


@pytest.mark.parametrize(
    ('mistake', 'phase'), [*((mistake, 'train') for mistake in DATA), ('fewer images', 'val'), ('a file', 'val')]
)
def test_a_data_set_that_cannot_be_built_is_named(pairs, store, tmp_path, monkeypatch, capsys, mistake, phase):
    key, place, message = DATA[mistake]
    shutil.copytree(pairs, tmp_path / 'pairs')
    for name in ('fewer', 'none'):
        (tmp_path / 'pairs' / name).mkdir()
    for path in list((pairs / 'rainy').iterdir())[:3]:
        shutil.copy(path, tmp_path / 'pairs/fewer')
    (tmp_path / 'pairs/empty.txt').write_text('')
    options = sapd_options(pairs, store, **{f'datasets:{phase}:{key}': str(tmp_path / 'pairs' / place)})
    last = only_mistake(monkeypatch, capsys, tmp_path, options)
    assert re.search(message.replace('train', phase), last), last


def test_weights_are_not_a_state_to_resume(pairs, store, tmp_path, monkeypatch, capsys):
    torch.save({'params': {'weight': torch.zeros(1)}}, tmp_path / 'net_g_4.pth')
    options = sapd_options(pairs, store, **{'path:resume_state': str(tmp_path / 'net_g_4.pth')})
    last = only_mistake(monkeypatch, capsys, tmp_path, options)
    assert re.search(r'path.resume_state: .*net_g_4.pth is not a training state .*path.pretrain_network_g', last), last


def test_a_network_in_the_place_of_the_branch_is_named(pairs, store, tmp_path, monkeypatch, capsys):
    last = only_mistake(monkeypatch, capsys, tmp_path, sapd_options(pairs, store, network_spf={'type': 'NAFNet'}))
    assert re.search(r"network_spf.type: 'NAFNet' cannot be built .* Expected SPF", last), last


def test_images_that_fill_no_batch_are_named(pairs, store, tmp_path, monkeypatch, capsys):
    size, ratio = 'datasets:train:batch_size_per_gpu', 'datasets:train:dataset_enlarge_ratio'
    options = sapd_options(pairs, store, **{size: 100, ratio: 2})
    assert only_mistake(monkeypatch, capsys, tmp_path, options) == (
        'error: datasets.train.batch_size_per_gpu: found 100, but each process draws 8 images per epoch (4 images x '
        'dataset_enlarge_ratio 2 / 1 processes), so there would be no full batch and no step. Lower it, or raise '
        'dataset_enlarge_ratio.'
    )


@pytest.mark.parametrize(
    ('images', 'batch', 'total', 'ends'), [(4, 3, 7, 5), (4, 3, 3, 0), (4, 2, 100, 0), (1000, 16, 300000, 295306)]
)
def test_a_training_that_basicsr_ends_early_is_warned_of(caplog, images, batch, total, ends):
    opt = {'phase': 'train', 'batch_size_per_gpu': batch}
    get_root_logger().addHandler(caplog.handler)
    build_checked(lambda _: range(images), opt, {'train': {'total_iter': total}, 'world_size': 1})
    get_root_logger().removeHandler(caplog.handler)
    warned = [f'after {ends} of {total} iterations' in record.getMessage() for record in caplog.records]
    assert warned == ([True] if ends else [])


def test_a_loader_without_batches_is_named_whatever_the_data_set():
    images = torch.utils.data.TensorDataset(torch.zeros(4, 1))
    with pytest.raises(SAPDError, match=r'batch_size_per_gpu: found 5, but each process draws 4 images per epoch, so'):
        Batches().follow(torch.utils.data.DataLoader(images, batch_size=5, drop_last=True))
    Batches().follow(torch.utils.data.DataLoader(images, batch_size=4, drop_last=True))


@pytest.mark.parametrize('name', ['../x', 'a/b', '..', '/absolute', ' ', 'a\nb', 'é' * 200])
def test_the_name_of_an_experiment_is_that_of_one_folder(pairs, store, tmp_path, monkeypatch, capsys, name):
    root = tmp_path / 'root'
    root.mkdir()
    last = only_mistake(monkeypatch, capsys, root, sapd_options(pairs, store, name=name))
    assert last.startswith('error: name: found')
    assert [item.name for item in (*tmp_path.iterdir(), *root.iterdir())] == ['root', 'opt.yml']


TESTS = {
    'a key that the metric ignores': (
        {'val:metrics:psnr:test_y_chanel': True},
        r"val.metrics.psnr: unknown key 'test_y_c",
    ),
    'a path as name': ({'name': '../x'}, r"name: found '../x', expected the name of one folder"),
    'a model': ({'model_type': 'SRModle'}, r"model_type: found 'SRModle'.*Did you mean 'SRModel'"),
    'a network': ({'network_g:type': 'SRVGGNetCompat'}, r"network_g.type: .*Did you mean 'SRVGGNetCompact"),
    'a key of the network': ({'network_g:num_fet': 8}, r"network_g: unknown key 'num_fet'.*Did you mean 'num_feat'"),
    'no folder': ({'datasets:val:dataroot_gt': '/absent'}, r'datasets.val.dataroot_gt: found no folder /absent'),
    'a border': ({'val:metrics:psnr:crop_border': 48}, r'val.metrics.psnr.crop_border: found 48'),
    'no suffix': ({'val:save_img': True}, r'val.suffix: missing'),
    'no validation': ({'val': DELETE}, r'val: missing'),
}


@pytest.mark.parametrize('mistake', TESTS)
def test_a_mistake_ends_a_test_in_one_line(pairs, tmp_path, monkeypatch, capsys, mistake):
    changes, message = TESTS[mistake]
    options = stock_options(pairs, **{'datasets:train': DELETE, **changes})
    last = only_mistake(monkeypatch, capsys, tmp_path, options, test.main)
    assert re.search(f'^error: {message}', last), last
    assert mistake == 'a border' or [item.name for item in tmp_path.iterdir()] == ['opt.yml']


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_prefetching_without_a_gpu_is_named():
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.zeros(4, 1)))
    with pytest.raises(SAPDError, match=r"datasets.train.prefetch_mode: 'cuda' needs a GPU"):
        CUDAPrefetcher(loader, {'num_gpu': 0})


def test_what_basicsr_itself_refuses_ends_in_one_line(pairs, store, tmp_path, monkeypatch, capsys):
    lmdb = {f'datasets:train:{key}': str(pairs / 'clean') for key in ('dataroot_gt', 'dataroot_lq')}
    options = sapd_options(pairs, store, **{**lmdb, 'datasets:train:io_backend': {'type': 'lmdb'}})
    last = only_mistake(monkeypatch, capsys, tmp_path, options)
    assert last.startswith('error: ')
    assert str(pairs / 'clean') in last
    message = r'basicsr.data.data_util of BasicSR refuses .*should both in lmdb'
    with pytest.raises(SAPDError, match=message), launched(basicsr.train):
        paired_paths_from_lmdb(['a', 'b'], ['lq', 'gt'])
    with pytest.raises(ValueError, match='of a user'), launched(basicsr.train):
        raise ValueError('of a user')


@pytest.mark.parametrize('error', [PermissionError(13, 'Permission denied', '/x/experiments'), None])
def test_a_working_folder_that_cannot_be_written_is_named(pairs, store, tmp_path, monkeypatch, capsys, error):
    if error is None:
        (tmp_path / 'experiments').write_text('a file')
    else:
        monkeypatch.setattr(os, 'makedirs', lambda *args, **kwargs: raised(error))
    last = only_mistake(monkeypatch, capsys, tmp_path, sapd_options(pairs, store))
    reason = 'Not a directory' if error is None else 'Permission denied'
    assert re.search(rf'error: .*/experiments.*: cannot be written \({reason}\). .* folder, {tmp_path}.', last), last


def raised(error: Exception) -> None:
    raise error


def test_a_validation_that_would_fail_is_named_before_the_first_step(pairs, store, tmp_path, monkeypatch, capsys):
    shutil.copytree(pairs, tmp_path / 'pairs')
    file = tmp_path / 'pairs/rainy/001.png'
    os.truncate(file, file.stat().st_size // 2)
    (tmp_path / 'none').mkdir()
    roots = ('datasets:val:dataroot_gt', 'datasets:val:dataroot_lq')
    cases = (
        ({'val:metrics:psnr:crop_border': 48}, r'val.metrics.psnr.crop_border: found 48, but .* Expected 47 at most'),
        ({'datasets:val:dataroot_lq': str(file.parent)}, r'/rainy/001.png: cannot be decoded, expected an image'),
        (dict.fromkeys(roots, str(tmp_path / 'none')), r'datasets.val: found no images, expected at least one'),
    )
    for number, (changes, message) in enumerate(cases):
        options = sapd_options(pairs, store, name=f'run{number}', **changes)
        last = only_mistake(monkeypatch, capsys, tmp_path, options)
        assert re.search(message, last), last


def test_a_missing_scale_is_named(pairs, store, tmp_path, monkeypatch, capsys):
    last = only_mistake(monkeypatch, capsys, tmp_path, sapd_options(pairs, store, scale=DELETE))
    assert last == 'error: scale: missing.'


CHECKED_FIRST = {
    'a metric without settings': ({'val:metrics:psnr': None}, r'val.metrics.psnr: found None, expected a block'),
    'text for a rate': ({'train:optim_g:lr': '1e-3'}, r"train.optim_g.lr: found '1e-3', .*In YAML, write 0.001"),
    'a schedule that ends': (
        {'train:scheduler': {'type': 'CosineAnnealingRestartLR', 'periods': [2]}},
        r'train.scheduler.periods: end after 2 iterations, expected at least those of train.total_iter \(4\)',
    ),
    'an unknown schedule': ({'train:scheduler:type': 'StepLR'}, r"train.scheduler.type: found 'StepLR'.*MultiStepLR"),
    'a patch that the scale does not divide': (
        {'scale': 5, 'network_spf:network': {'type': 'SRVGGNetCompact', 'upscale': 1}},
        r'datasets.train.gt_size: found 48, expected a multiple of scale \(5\)',
    ),
    'another dataset': (
        {'datasets:train:type': 'GaussianNoiseDataset', 'datasets:train:base_dataset_type': 'PairedImageDataset'},
        r"base_dataset_type: read by 'PairedImageMaskDataset' alone, found with type 'GaussianNoiseDataset'",
    ),
    'no loss of the base': (
        {'train:pixel_opt': DELETE},
        r'train.pixel_opt: missing, and SRModel needs a loss of its own .*L1Loss.*perceptual_opt',
    ),
    'no loss of the GAN': (
        {
            'base_model_type': 'SRGANModel',
            'network_d': {'type': 'VGGStyleDiscriminator', 'num_in_ch': 3, 'num_feat': 8},
        },
        r'train.gan_opt: missing, and SRGANModel needs it',
    ),
    'no discriminator': ({'base_model_type': 'ESRGANModel'}, r'network_d: missing'),
    'misspelt loss of the GAN': (
        {'train:gan_opt': {'type': 'GANLoss', 'gan_typ': 'vanilla'}},
        r"train.gan_opt: unknown key 'gan_typ'.*Did you mean 'gan_type'",
    ),
    'a model type': ({'model_type': 'SAPDModle'}, r"model_type: found 'SAPDModle', .*Did you mean 'SAPDModel'"),
    'no model type': ({'model_type': DELETE}, r'model_type: found None, expected one of'),
    'a model that ignores the branch': (
        {'model_type': 'SRModel'},
        r"model_type: found 'SRModel', which ignores network_spf .*'SAPDModel' with base_model_type: SRModel",
    ),
    "the branch's key in train": (
        {'train:fusion': 'map'},
        r"train.fusion: nothing reads this key here. Did you mean 'network_spf.fusion'",
    ),
    'another value at the right place': (
        {'train:sapd_opt:every': 1, 'every': 2},
        r"every: nothing reads this key here. Did you mean 'train.sapd_opt.every'",
    ),
    "the step's key in train": ({'train:stage': 'joint'}, r"train.stage: .*Did you mean 'train.sapd_opt.stage'"),
    "the losses' key at the top": (
        {'start': 5},
        r"start: .*Did you mean 'train.spd_opt.start' or 'train.sgr_opt.start'",
    ),
    "the branch's key in the data set": ({'datasets:train:context': 'image'}, r"mean 'network_spf.context'"),
    'a mean alone': (
        {'datasets:val:mean': [0.5, 0.5, 0.5]},
        r'datasets.val.std: missing, and mean is there: images are normalized by both',
    ),
    'a deviation alone': ({'datasets:train:std': [1, 1, 1]}, r'datasets.train.mean: missing, and std is there'),
    'a deviation of 0': (
        {'datasets:train:mean': [0, 0, 0], 'datasets:train:std': [1, 0, 1]},
        r'datasets.train.std\[1\]: found 0, expected a number > 0',
    ),
    'means of two channels': (
        {'datasets:train:mean': [0, 0], 'datasets:train:std': [1, 1]},
        r'datasets.train.mean: found 2 numbers, expected one per channel \(3\)',
    ),
    'wandb alone': (
        {'logger:wandb': {'project': 'sapd'}},
        r"logger.use_tb_logger: found false, expected true: BasicSR's wandb .*logger.wandb.project is sapd",
    ),
    'another color in validation': (
        {'datasets:train:color': 'y'},
        r"datasets.val.color: found None, and datasets.train.color is 'y', so a network for",
    ),
    'no ground truth for a metric': (
        {'datasets:val:type': 'SingleImageDataset'},
        r"val.metrics.psnr: calculate_psnr needs a ground truth, which the 'SingleImageDataset' of datasets.val lacks",
    ),
    'a test set': ({'datasets:test': {'name': 'a', 'type': 'PairedImageDataset'}}, r'datasets.test: found an unknown'),
    'no workers that could persist': (
        {'datasets:train:persistent_workers': True},
        r'datasets.train.persistent_workers: found true, but this data set is loaded without workers',
    ),
    "BasicSR's key in train": (
        {'train:ema_deacy': 0.9},
        r"train.ema_deacy: unknown key. Did you mean 'train.ema_decay'",
    ),
    "BasicSR's key in the data set": (
        {'datasets:val:colour': 'y'},
        r"datasets.val.colour: unknown key. Did you mean 'datasets.val.color'",
    ),
    "BasicSR's key in path": (
        {'path:pretrain_netwrok_g': '/a'},
        r"unknown key. Did you mean 'path.pretrain_network_g'",
    ),
    'prefetching to a GPU': (
        {'datasets:train:prefetch_mode': 'cuda'},
        r"datasets.train.pin_memory: found .*, expected true with prefetch_mode 'cuda'",
    ),
    'an end before the start': (
        {'train:spd_opt:start': 10, 'train:spd_opt:stop': 5},
        r'train.spd_opt.stop: found 5, expected an iteration after start \(10\)',
    ),
    'no size of patches': ({'datasets:train:gt_size': DELETE}, r'datasets.train.gt_size: missing'),
}


@pytest.mark.parametrize('mistake', CHECKED_FIRST)
def test_options_are_checked_before_data_and_model(pairs, store, tmp_path, mistake):
    changes, message = CHECKED_FIRST[mistake]
    with pytest.raises(SAPDError, match=message):
        check_options(parsed(sapd_options(pairs, store, **changes), tmp_path))


def test_a_user_s_own_model_may_read_any_key(pairs, store, tmp_path):
    class Own(SRModel):
        pass

    MODEL_REGISTRY.register(Own)
    try:
        check_options(
            parsed(
                sapd_options(pairs, store, base_model_type='Own', **{'train:stage': 1, 'train:ema_decays': 1}), tmp_path
            )
        )
        check_options(parsed(sapd_options(pairs, store, every=1), tmp_path))  # an anchor of train.sapd_opt.every
    finally:
        del MODEL_REGISTRY._obj_map['Own']


def test_the_model_of_a_stock_training_is_named_too(pairs, tmp_path, monkeypatch, capsys):
    last = only_mistake(monkeypatch, capsys, tmp_path, stock_options(pairs, model_type='SRModle'))
    assert re.search(r"error: model_type: found 'SRModle', .*Did you mean 'SRModel'", last), last


def test_every_shipped_config_passes_the_table_of_kinds():
    from sapd_plugin.basicsr.delta import is_sapd
    from sapd_plugin.basicsr.metrics import check_metrics
    from sapd_plugin.basicsr.option_kinds import check_kinds
    from sapd_plugin.basicsr.options import parse_yaml

    count = 0
    for path in sorted((ROOT / 'configs/basicsr').rglob('*.yml')):
        opt = parse_yaml(path.read_text(encoding='utf-8'))
        if is_sapd(opt):
            check_kinds(opt)
            check_metrics(opt)
            count += 1
    assert count >= 8
