"""Cells of tables in BasicSR: options made from the stock YAML file, BasicSR's own tools, and their output."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml

from sapd_plugin.evaluation.networks import read_basicsr
from sapd_plugin.experiments.config_changes import Place
from sapd_plugin.experiments.definitions import Launch, Table
from sapd_plugin.experiments.run import EvalSet, Log, Run
from sapd_plugin.metrics import canonical_color

_NUMBER = r'[-+]?(?:\d+\.?\d*(?:e[-+]?\d+)?|nan|inf)'  # as Python prints it; a killed training may end in half of one


_SPF = 'experiments/{name}/models/net_spf_latest.pth'


class BasicSRRun(Run):
    """A cell in BasicSR, which writes below its working directory."""

    framework, suffix = 'basicsr', '.yml'
    checkpoints = 'experiments/{name}/models/net_g_latest.pth'
    states = 'experiments/{name}/training_states/*.state'
    network_key, iterations_key, batch_key = 'network_g', 'train.total_iter', 'datasets.train.batch_size_per_gpu'

    @staticmethod
    @cache
    def read_config(path: Path) -> dict[str, Any]:
        """Read options with BasicSR's loader, because its configs may call a function."""
        return read_basicsr(path)

    @staticmethod
    def schedule(options: dict[str, Any]) -> tuple[list[Place], list[Place]]:
        """Return the places of iterations and intervals."""
        train, log = options['train'], options.get('logger', {})
        points = [(train, 'total_iter'), (train, 'warmup_iter')]
        points += [(train['scheduler'], key) for key in ('periods', 'milestones')]
        return points, [(options.get('val', {}), 'val_freq'), (log, 'save_checkpoint_freq'), (log, 'print_freq')]

    def adapt(self, options: dict[str, Any]) -> None:
        """Set the name, seed, noise, validation, priors and initial weights."""
        gpus = self.settings.launch.gpus if self.settings.cuda else 0
        options.update(name=self.cell.name, manual_seed=self.cell.seed, num_gpu=gpus)
        train = options['datasets']['train']
        if self.table.sigma is not None and isinstance(train.get('sigma'), (int, float)):
            train['sigma'] = self.table.sigma
        options['datasets'] = {'train': train, 'val': _dataset(self.validation)}
        options['val'].update(save_img=False, metrics=_metrics(self.table))
        if self.blocks:
            _add_priors(options, self.blocks)
        if self.teacher is not None:
            options['path']['pretrain_network_spf'] = str(
                self.teacher.folder / _SPF.format(name=self.teacher.cell.name)
            )
        if self.start is not None:
            options['path'].update(pretrain_network_g=str(self.start.student), param_key_g=_weights_key(options))
            if self.blocks:
                options['train'].setdefault('sapd_opt', {})['stage'] = 'two_stage'

    @staticmethod
    def dump(options: Mapping[str, Any]) -> str:
        """Return options as YAML."""
        return yaml.safe_dump(_plain(options), sort_keys=False)

    @property
    def training_images(self) -> dict[str, Path]:
        """The folders ``dataroot_lq`` (``dataroot_gt`` if training adds the noise) and ``dataroot_gt``."""
        dataset = self.options['datasets']['train']
        target = dataset['dataroot_gt']
        return {'input': Path(dataset.get('dataroot_lq') or target), 'target': Path(target)}

    def train_command(self, resume: bool) -> list[str]:
        """Return the command that starts or resumes training."""
        options = ['-opt', str(self.config), *(['--auto_resume'] if resume else [])]
        return self.settings.launch.command('sapd_plugin.basicsr.train', *options)

    def test_options(self, test_set: EvalSet) -> dict[str, Any]:
        """Return the options for testing the student."""
        opt = self.options
        model = opt.get('base_model_type', 'SRModel') if opt['model_type'] == 'SAPDModel' else opt['model_type']
        return {
            'name': f'test_{test_set.name}',
            'model_type': 'FloorSRModel' if self.table.quantise == 'floor' else model,
            'scale': opt['scale'],
            'num_gpu': min(1, torch.cuda.device_count()),
            'manual_seed': 0,
            'datasets': {'test': _dataset(test_set)},
            'network_g': opt['network_g'],
            'path': {
                'pretrain_network_g': str(self.student),
                'param_key_g': _weights_key(opt),
                'strict_load_g': True,
            },
            'val': {'save_img': self.settings.save_images, 'suffix': None, 'metrics': _metrics(self.table)},
        }

    def test_command(self, config: Path, test_set: EvalSet) -> list[str]:
        """Return the command that runs the test."""
        return Launch().command('sapd_plugin.basicsr.test', '-opt', str(config))

    def read_metrics(self, test_set: EvalSet, output: str) -> dict[str, float]:
        """Read the metrics that BasicSR printed after the test, with four decimals."""
        return {name: float(value) for name, value in re.findall(rf'^\s+# (\w+): ({_NUMBER})', output, re.MULTILINE)}

    @staticmethod
    def save_student(state: Mapping[str, Any], path: Path) -> None:
        """Write the weights under both of BasicSR's keys, for configs with and without an EMA."""
        torch.save({'params': dict(state), 'params_ema': dict(state)}, path)

    @staticmethod
    def read_log(folder: Path, name: str) -> Log:
        """Read BasicSR's log files."""
        log = Log()
        for path in sorted((folder / 'experiments' / name).glob('train_*.log')):
            iteration = 0
            for line in path.read_text(encoding='utf-8', errors='replace').splitlines(keepends=True):
                if step := re.search(r'\[epoch:.*?, iter:\s*(\d[\d,]*)', line):
                    iteration = int(step[1].replace(',', ''))
                    values = re.findall(rf'\b(l_\w+|psnr_restored|psnr_refined): ({_NUMBER})(?=\s)', line)
                    if values:
                        log.losses[iteration] = {key: float(value) for key, value in values}
                elif psnr := re.match(rf'\s+# psnr: ({_NUMBER})(?=\s)', line):
                    log.curve[iteration] = float(psnr[1])
        return log


def _add_priors(opt: dict[str, Any], blocks: Mapping[str, Mapping[str, Any]]) -> None:
    """Add SAPD to stock options, as the README shows, from the blocks of `Run.blocks`."""
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
    if blocks['step']:
        opt['train']['sapd_opt'] = dict(blocks['step'])


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


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {key: _plain(value) for key, value in node.items()}
    return [_plain(value) for value in node] if isinstance(node, (list, tuple)) else node
