"""A table's cells in BasicSR: its options made from the stock YAML, its own tools, what they print."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from basicsr.utils.options import ordered_yaml

from sapd_plugin.experiments.config_changes import interval, move_data, set_keys, stretched
from sapd_plugin.experiments.definitions import Table
from sapd_plugin.experiments.framework import EvalSet, FrameworkRun, Launch, Log
from sapd_plugin.metrics import canonical_color


class BasicSRRun(FrameworkRun):
    """One training in BasicSR, which works below the folder that it is started in."""

    framework, suffix = 'basicsr', '.yml'
    iterations_key, batch_key = 'train.total_iter', 'datasets.train.batch_size_per_gpu'

    @cached_property
    def options(self) -> dict[str, Any]:
        """The training's options: the stock YAML with what the training changes."""
        training, opt = self.training, deepcopy(self.stock)
        set_keys(opt, training.changes, str(training.stock))
        opt = move_data(opt, training.data)
        opt.update(name=training.name, manual_seed=training.seed, num_gpu=training.gpus)
        opt['network_g'].update(training.network)
        if training.sigma is not None and isinstance(opt['datasets']['train'].get('sigma'), (int, float)):
            opt['datasets']['train']['sigma'] = training.sigma
        opt['datasets']['train']['batch_size_per_gpu'] = self.batch_per_process
        if self.asked_iterations is not None:
            _stretch(opt, self.asked_iterations)
        opt['datasets'] = {'train': opt['datasets']['train'], 'val': _dataset(training.validation)}
        opt['val'].update(save_img=False, metrics=_metrics(training.validation.table))
        blocks = training.blocks()
        if blocks:
            add_priors(opt, blocks)
        if training.start is not None:
            opt['path'].update(pretrain_network_g=str(training.start), param_key_g=_weights_key(opt))
            if blocks:
                opt['train']['sapd_opt'] = {'stage': 'two_stage'}
        return opt

    @property
    def text(self) -> str:
        """The YAML of the training."""
        return _dump(self.options)

    @property
    def stock(self) -> Mapping[str, Any]:
        """The stock YAML."""
        return read(self.training.stock)

    @property
    def inputs(self) -> Path:
        """``dataroot_lq``; where noise is added, ``dataroot_gt``."""
        dataset = self.options['datasets']['train']
        return Path(dataset.get('dataroot_lq') or dataset['dataroot_gt'])

    @property
    def targets(self) -> Path:
        """``dataroot_gt``."""
        return Path(self.options['datasets']['train']['dataroot_gt'])

    @property
    def experiment(self) -> Path:
        """The folder that BasicSR makes for the training."""
        return self.folder / 'experiments' / self.training.name

    @property
    def checkpoint(self) -> Path:
        """``net_g_latest.pth``, which BasicSR writes after the last iteration."""
        return self.experiment / 'models/net_g_latest.pth'

    @property
    def resumable(self) -> bool:
        """Whether a training state was saved."""
        return any((self.experiment / 'training_states').glob('*.state'))

    def train_command(self, launch: Launch, resume: bool) -> list[str]:
        """Return the command that trains, or resumes."""
        options = ['-opt', str(self.config), *(['--auto_resume'] if resume else [])]
        return launch.command('sapd_plugin.basicsr.train', *options)

    def test_text(self, test_set: EvalSet, student: Path, save_images: bool) -> str:
        """Return the YAML of a test, stock but for the metrics' protocol."""
        opt, table = self.options, test_set.table
        model = opt.get('base_model_type', 'SRModel') if opt['model_type'] == 'SAPDModel' else opt['model_type']
        return _dump(
            {
                'name': f'test_{test_set.name}',
                'model_type': 'FloorSRModel' if table.quantise == 'floor' else model,
                'scale': opt['scale'],
                'num_gpu': min(1, torch.cuda.device_count()),
                'manual_seed': 0,
                'datasets': {'test': _dataset(test_set)},
                'network_g': opt['network_g'],
                'path': {
                    'pretrain_network_g': str(student),
                    'param_key_g': _weights_key(opt),
                    'strict_load_g': True,
                },
                'val': {'save_img': save_images, 'suffix': None, 'metrics': _metrics(table)},
            }
        )

    def test_command(self, config: Path, test_set: EvalSet, student: Path) -> list[str]:
        """Return the command that tests."""
        return Launch().command('sapd_plugin.basicsr.test', '-opt', str(config))

    def read_metrics(self, test_set: EvalSet, output: str) -> dict[str, float]:
        """Read what BasicSR printed after the test, four decimals."""
        return {name: float(value) for name, value in re.findall(r'^\s+# (\w+): (-?[\d.]+)', output, re.MULTILINE)}

    def save_student(self, state: Mapping[str, Any], path: Path) -> None:
        """Write it under both names that BasicSR uses, for a config with an EMA and one without."""
        torch.save({'params': dict(state), 'params_ema': dict(state)}, path)

    @classmethod
    def read_log(cls, folder: Path, name: str) -> Log:
        """Read the log files of BasicSR."""
        log = Log()
        for path in sorted((folder / 'experiments' / name).glob('train_*.log')):
            iteration = 0
            for line in path.read_text(encoding='utf-8').splitlines():
                if step := re.search(r'\[epoch:.*?, iter:\s*([\d,]+)', line):
                    iteration = int(step[1].replace(',', ''))
                    values = re.findall(r'\b(l_\w+|psnr_restored|psnr_refined): (\S+)', line)
                    if values:
                        log.losses[iteration] = {key: float(value) for key, value in values}
                elif psnr := re.match(r'\s+# psnr: (-?[\d.]+)', line):
                    log.curve[iteration] = float(psnr[1])
        return log


@cache
def read(path: Path) -> dict[str, Any]:
    """Read options as BasicSR does, as plain dicts, which are not to be changed."""
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
    colour = 'grey' if canonical_color(test_set.table.protocol) == 'gray' else 'rgb'
    return {**block, 'type': 'GaussianNoiseDataset', 'sigma': test_set.table.sigma, 'color': colour}


def _metrics(table: Table) -> dict[str, Any]:
    return {
        name: {'type': f'calculate_protocol_{name}', 'protocol': table.protocol, 'crop_border': 0}
        for name in ('psnr', 'ssim')
    }


def _weights_key(opt: Mapping[str, Any]) -> str:
    return 'params_ema' if opt['train'].get('ema_decay', 0) > 0 else 'params'


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
