"""Small data sets and option trees that the BasicSR tests share."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStoreWriter

ROOT = Path(__file__).parents[2]


def make_pairs(shared: Path, folder: Path, count: int = 4, size: tuple[int, int] | None = None) -> Path:
    """Real rainy and clean photos as folder/{rainy,clean}, cut to ``size`` (H, W) where given."""
    for kind in ('rainy', 'clean'):
        (folder / kind).mkdir(parents=True)
        for source in sorted((shared / 'rain100l' / kind).glob('*.png'))[:count]:
            image = cv2.imread(str(source))
            if size is not None:
                image = image[window(size)]
            cv2.imwrite(str(folder / kind / source.name), image)
    return folder


def window(size: tuple[int, int]) -> tuple[slice, slice]:
    """A part of a photo that holds several things, not only sky."""
    return slice(140, 140 + size[0]), slice(100, 100 + size[1])


def make_store(folder: Path, images: Path, labels: Any = None, settings: dict[str, Any] | None = None) -> Path:
    """A mask store for the images of a folder; ``labels(path)`` gives an (H,W) integer map, by default grey levels."""
    with MaskStoreWriter(folder, settings or {'segmenter': 'test'}) as writer:
        for path in sorted(images.glob('*.png')):
            writer.put(path.stem, LabelMap.from_labels((labels or grey_levels)(path)))
    return folder


def grey_levels(path: Path) -> np.ndarray:
    """A map that can be computed from any crop of the image: its quantised grey value, 1..8."""
    return quantise(cv2.imread(str(path)))


def quantise(bgr: np.ndarray) -> np.ndarray:
    return bgr.astype(np.int32).sum(axis=2) // 96 + 1


def shared_labels(shared: Path) -> Any:
    """MobileSAM's masks of the shared data, for images that make_pairs cut."""

    def read(path: Path) -> np.ndarray:
        labels = cv2.imread(str(shared / 'masks/rain100l/clean' / path.name), cv2.IMREAD_UNCHANGED)
        size = cv2.imread(str(path)).shape[:2]
        return labels if labels.shape == size else labels[window(size)]

    return read


STOCK: dict[str, Any] = {
    'name': 'stock',
    'model_type': 'SRModel',
    'scale': 1,
    'num_gpu': 0,
    'manual_seed': 3,
    'datasets': {
        'train': {
            'name': 'pairs',
            'type': 'PairedImageDataset',
            'io_backend': {'type': 'disk'},
            'gt_size': 48,
            'use_hflip': True,
            'use_rot': True,
            'num_worker_per_gpu': 0,
            'batch_size_per_gpu': 2,
            'dataset_enlarge_ratio': 1,
            'prefetch_mode': None,
        },
        'val': {'name': 'val', 'type': 'PairedImageDataset', 'io_backend': {'type': 'disk'}},
    },
    'network_g': {'type': 'SRVGGNetCompact', 'num_feat': 8, 'num_conv': 2, 'upscale': 1},
    'path': {'pretrain_network_g': None, 'strict_load_g': True, 'resume_state': None},
    'train': {
        'ema_decay': 0.9,
        'optim_g': {'type': 'Adam', 'lr': 1e-3, 'betas': [0.9, 0.99]},
        'scheduler': {'type': 'MultiStepLR', 'milestones': [4], 'gamma': 0.5},
        'total_iter': 4,
        'warmup_iter': -1,
        'pixel_opt': {'type': 'L1Loss', 'loss_weight': 1.0, 'reduction': 'mean'},
    },
    'val': {
        'val_freq': 1000,
        'save_img': False,
        'metrics': {'psnr': {'type': 'calculate_psnr', 'crop_border': 0, 'test_y_channel': False}},
    },
    'logger': {'print_freq': 1, 'save_checkpoint_freq': 1000, 'use_tb_logger': False},
}


def stock_options(pairs: Path, **changes: Any) -> dict[str, Any]:
    opt = copy.deepcopy(STOCK)
    for phase in opt['datasets'].values():
        phase.update(dataroot_gt=str(pairs / 'clean'), dataroot_lq=str(pairs / 'rainy'))
    return update(opt, changes)


def sapd_options(pairs: Path, store: Path, vgg: Path | None = None, **changes: Any) -> dict[str, Any]:
    """The stock options and the delta that a user adds."""
    opt = stock_options(pairs)
    opt.update(name='sapd', model_type='SAPDModel', network_spf={'type': 'SPF', 'planes': 4})
    opt['datasets']['train'].update(type='PairedImageMaskDataset', mask_store=str(store))
    opt['train']['spd_opt'] = {'type': 'SPDLoss', 'loss_weight': 0.5, 'gate': 'none'}  # acts from the first step
    if vgg is not None:
        opt['train']['sgr_opt'] = {'type': 'SGRLoss', 'loss_weight': 0.5, 'weights': str(vgg)}
    return update(opt, changes)


def update(opt: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Apply {'train:spd_opt:gate': True}-like changes; DELETE removes a key."""
    for path, value in changes.items():
        *parents, last = path.split(':')
        node = opt
        for key in parents:
            node = node[key]
        if value is DELETE:
            del node[last]
        else:
            node[last] = copy.deepcopy(value)
    return opt


DELETE = object()


def parsed(opt: dict[str, Any], root: Path, is_train: bool = True) -> dict[str, Any]:
    """What BasicSR's parse_options adds to the options of a file."""
    opt = copy.deepcopy(opt)
    opt.update(dist=False, rank=0, world_size=1, is_train=is_train, auto_resume=False, root_path=str(root))
    for phase, dataset in opt['datasets'].items():
        dataset.update(phase=phase.split('_')[0], scale=opt['scale'])
    folder = root / ('experiments' if is_train else 'results') / opt['name']
    for key in ('models', 'training_states', 'visualization'):
        opt['path'][key] = str(folder / key)
        (folder / key).mkdir(parents=True, exist_ok=True)
    return opt


def write_yaml(opt: dict[str, Any], path: Path, tagged: bool = False) -> Path:
    """Write options for a stock command; ``tagged`` loads the plugin from the YAML alone."""
    text = yaml.safe_dump(opt, sort_keys=False)
    if tagged:
        text = text.replace('model_type: SAPDModel', 'model_type: !!python/object/apply:sapd_plugin.use [SAPDModel]')
    path.write_text(text)
    return path


def run(command: list[str], cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a user's command; a failure shows all that it printed."""
    full = {**os.environ, 'OMP_NUM_THREADS': '1', **env}
    result = subprocess.run([sys.executable, *command], cwd=cwd, env=full, capture_output=True, text=True, timeout=600)
    result.stdout += result.stderr
    return result


def run_train(opt_file: Path, cwd: Path, *extra: str) -> str:
    result = run([str(ROOT / 'tools/basicsr_train.py'), '-opt', str(opt_file), *extra], cwd)
    assert result.returncode == 0, result.stdout[-6000:]
    return result.stdout


def run_test(opt_file: Path, cwd: Path) -> str:
    result = run([str(ROOT / 'tools/basicsr_test.py'), '-opt', str(opt_file)], cwd)
    assert result.returncode == 0, result.stdout[-6000:]
    return result.stdout
