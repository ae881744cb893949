"""A table's cells in BasicSR: its options made from the stock YAML, its own tools, what they print."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import yaml
from basicsr.utils.options import ordered_yaml

from sapd_plugin.experiments.definitions import Table
from sapd_plugin.experiments.framework import (
    EvalSet,
    Evaluation,
    Launch,
    Training,
    interval,
    move_data,
    set_keys,
    stretched,
)


class BasicSR:
    """Implements :class:`tables.runs.Framework`."""

    name, suffix = 'basicsr', '.yml'

    def training(self, training: Training) -> str:
        """The YAML of the training."""
        opt = read(training.stock)
        set_keys(opt, training.changes, str(training.stock))
        opt = move_data(opt, training.data)
        opt.update(name=training.name, manual_seed=training.seed, num_gpu=training.gpus)
        opt['network_g'].update(training.network)
        if training.sigma is not None and isinstance(opt['datasets']['train'].get('sigma'), (int, float)):
            opt['datasets']['train']['sigma'] = training.sigma
        if training.batch is not None:
            opt['datasets']['train']['batch_size_per_gpu'] = training.batch
        if training.iterations is not None:
            _stretch(opt, training.iterations)
        opt['datasets'] = {'train': opt['datasets']['train'], 'val': _dataset(training.validation)}
        opt['val'].update(save_img=False, metrics=_metrics(training.validation.table))
        blocks = training.blocks()
        if blocks:
            add_priors(opt, blocks)
        if training.start is not None:
            ema = opt['train'].get('ema_decay', 0) > 0
            opt['path'].update(pretrain_network_g=str(training.start), param_key_g='params_ema' if ema else 'params')
            if blocks:
                opt['train']['sapd_opt'] = {'stage': 'two_stage'}
        return _dump(opt)

    def train_command(self, config: Path, folder: Path, launch: Launch, resume: bool) -> list[str]:
        """``tools/basicsr_train.py``; it works below the folder it is started in."""
        return launch.command('sapd_plugin.basicsr.train', '-opt', str(config), *(['--auto_resume'] if resume else []))

    def begun(self, config: Path, folder: Path) -> bool:
        """Whether a training state was saved."""
        return any((self._experiment(config, folder) / 'training_states').glob('*.state'))

    def trained(self, config: Path, folder: Path) -> Path | None:
        """``net_g_latest.pth``, which BasicSR writes after the last iteration."""
        path = self._experiment(config, folder) / 'models/net_g_latest.pth'
        return path if path.is_file() else None

    def iteration(self, line: str) -> int | None:
        """Read BasicSR's log."""
        found = re.search(r'\biter:\s*([\d,]+)', line)
        return int(found[1].replace(',', '')) if found else None

    def iterations(self, config: Path) -> int:
        """``train.total_iter``."""
        return int(read(config)['train']['total_iter'])

    def batch(self, stock: Path) -> int:
        """``batch_size_per_gpu``."""
        return int(read(stock)['datasets']['train']['batch_size_per_gpu'])

    def training_inputs(self, config: Path) -> Path:
        """``dataroot_lq``, or where noise is added ``dataroot_gt``."""
        dataset = read(config)['datasets']['train']
        return Path(dataset.get('dataroot_lq') or dataset['dataroot_gt'])

    def training_targets(self, config: Path) -> Path:
        """``dataroot_gt``."""
        return Path(read(config)['datasets']['train']['dataroot_gt'])

    def testing(self, config: Path, testing: Evaluation) -> str:
        """The YAML of a test, stock but for the metrics' protocol."""
        opt = read(config)
        table = testing.test_set.table
        model = opt.get('base_model_type', 'SRModel') if opt['model_type'] == 'SAPDModel' else opt['model_type']
        ema = opt['train'].get('ema_decay', 0) > 0
        return _dump(
            {
                'name': f'test_{testing.test_set.name}',
                'model_type': 'FloorSRModel' if table.quantise == 'floor' else model,
                'scale': opt['scale'],
                'num_gpu': min(1, torch.cuda.device_count()),
                'manual_seed': 0,
                'datasets': {'test': _dataset(testing.test_set)},
                'network_g': opt['network_g'],
                'path': {
                    'pretrain_network_g': str(testing.checkpoint),
                    'param_key_g': 'params_ema' if ema else 'params',
                    'strict_load_g': True,
                },
                'val': {'save_img': testing.save_images, 'suffix': None, 'metrics': _metrics(table)},
            }
        )

    def test_command(self, config: Path, folder: Path, testing: Evaluation) -> list[str]:
        """``tools/basicsr_test.py``."""
        return Launch().command('sapd_plugin.basicsr.test', '-opt', str(config))

    def metrics(self, folder: Path, output: str) -> dict[str, float]:
        """What BasicSR printed, four decimals."""
        return {name: float(value) for name, value in re.findall(r'# (\w+): (-?[\d.]+)', output)}

    def save_student(self, state: Mapping[str, Any], path: Path) -> None:
        """Under both names that BasicSR uses, for a config with an EMA and one without."""
        torch.save({'params': dict(state), 'params_ema': dict(state)}, path)

    def curve(self, config: Path, folder: Path) -> list[tuple[int, float]]:
        """From the training's logs; a resumed training has several."""
        points = {}
        for log in sorted(self._experiment(config, folder).glob('train_*.log')):
            iteration = 0
            for line in log.read_text(encoding='utf-8').splitlines():
                iteration = self.iteration(line) or iteration
                found = re.search(r'# psnr: (-?[\d.]+)', line)
                if found:
                    points[iteration] = float(found[1])
        return sorted(points.items())

    def logged(self, config: Path, folder: Path) -> dict[int, dict[str, float]]:
        """From the training's logs."""
        found = {}
        for log in sorted(self._experiment(config, folder).glob('train_*.log')):
            for line in log.read_text(encoding='utf-8').splitlines():
                values = re.findall(r'\b(l_\w+|psnr_restored|psnr_refined): (\S+)', line)
                if values:
                    found[self.iteration(line) or 0] = {key: float(value) for key, value in values}
        return found

    def _experiment(self, config: Path, folder: Path) -> Path:
        return folder / 'experiments' / read(config)['name']


def read(path: Path) -> dict[str, Any]:
    """Read options as BasicSR does, as plain dicts."""
    with open(path, encoding='utf-8') as file:
        return _plain(yaml.load(file, Loader=ordered_yaml()[0]))  # BasicSR's loader: its configs may call a function


def add_priors(opt: dict[str, Any], blocks: Mapping[str, Mapping[str, Any]]) -> None:
    """Add the delta of the README to stock options.

    Args:
        opt: BasicSR options; changed.
        blocks: ``spf`` and ``dataset``, and ``spd``, ``sgr`` or both.
    """
    if opt['model_type'] != 'SRModel':
        opt['base_model_type'] = opt['model_type']
    opt['model_type'] = 'SAPDModel'
    train = opt['datasets']['train']
    own = train['type'] if train['type'] != 'PairedImageDataset' else blocks['dataset']['type']
    train.update({**blocks['dataset'], 'type': own})  # GaussianNoiseDataset takes masks itself
    opt['network_spf'] = dict(blocks['spf'])
    for key in ('spd', 'sgr'):
        if key in blocks:
            opt['train'][f'{key}_opt'] = dict(blocks[key])


def _dataset(test_set: EvalSet) -> dict[str, Any]:
    block = {'name': test_set.name, 'dataroot_gt': str(test_set.folder / 'target'), 'io_backend': {'type': 'disk'}}
    if test_set.table.sigma is None:
        return {**block, 'type': 'PairedImageDataset', 'dataroot_lq': str(test_set.folder / 'input')}
    colour = 'grey' if test_set.table.protocol == 'grey' else 'rgb'
    return {**block, 'type': 'GaussianNoiseDataset', 'sigma': test_set.table.sigma, 'color': colour}


def _metrics(table: Table) -> dict[str, Any]:
    return {
        name: {'type': f'calculate_protocol_{name}', 'protocol': table.protocol, 'crop_border': 0}
        for name in ('psnr', 'ssim')
    }


def _stretch(opt: dict[str, Any], iterations: int) -> None:
    train = opt['train']
    factor = iterations / train['total_iter']
    train['total_iter'] = iterations
    for key in ('periods', 'milestones'):
        if key in train['scheduler']:
            train['scheduler'][key] = [stretched(i, factor) for i in train['scheduler'][key]]
    if train.get('warmup_iter', -1) > 0:
        train['warmup_iter'] = stretched(train['warmup_iter'], factor)
    for block, key in (('val', 'val_freq'), ('logger', 'save_checkpoint_freq'), ('logger', 'print_freq')):
        if key in opt.get(block, {}):
            opt[block][key] = interval(opt[block][key], iterations, factor)


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, (list, tuple)) else node


def _dump(opt: Mapping[str, Any]) -> str:
    return yaml.safe_dump(_plain(opt), sort_keys=False)
