"""A table's cells in MMagic: its configs made from the stock config, its own tools, what they write."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from functools import cache, cached_property
from pathlib import Path
from pprint import pformat
from typing import Any

import torch
from mmengine.config import Config

from sapd_plugin.experiments.config_changes import interval, move_data, set_keys, stretched
from sapd_plugin.experiments.definitions import Table
from sapd_plugin.experiments.framework import EvalSet, FrameworkRun, Launch, Log
from sapd_plugin.metrics import canonical_color

PLUGIN = 'sapd_plugin.mmagic'

warnings.filterwarnings('ignore', message='pkg_resources is deprecated')  # MMEngine imports it for each config


class MMagicRun(FrameworkRun):
    """One training in MMagic, which works in ``work`` below the folder."""

    framework, suffix = 'mmagic', '.py'
    iterations_key, batch_key = 'train_cfg.max_iters', 'train_dataloader.batch_size'

    @cached_property
    def options(self) -> dict[str, Any]:
        """The config of the training, with all bases merged into it."""
        training, config = self.training, self.stock.to_dict()
        set_keys(config, training.changes, str(training.stock))
        config = move_data(config, training.data)
        _load_plugin(config)
        config.update(experiment_name=training.name, work_dir='work')
        config['randomness'] = {**config.get('randomness', {}), 'seed': training.seed}
        hooks = config['default_hooks']
        hooks.get('checkpoint', {}).pop('out_dir', None)  # checkpoints go to work_dir
        # Or all validations are logged under epoch 0.
        hooks['logger'] = {'type': 'LoggerHook', **hooks.get('logger', {}), 'log_metric_by_epoch': False}
        config['model']['generator'].update(training.network)
        for transform in config['train_dataloader']['dataset']['pipeline']:
            if training.sigma is not None and isinstance(transform.get('sigma'), (int, float)):
                transform['sigma'] = training.sigma
        config['train_dataloader']['batch_size'] = self.batch_per_process
        if self.asked_iterations is not None:
            _stretch(config, self.asked_iterations)
        config.update(
            val_dataloader=_dataloader(training.validation),
            val_evaluator=_metrics(training.validation.table),
            val_cfg={'type': 'MultiValLoop'},
            test_dataloader=None,
            test_evaluator=None,
            test_cfg=None,
        )
        hooks.get('checkpoint', {}).pop('save_best', None)  # the last iteration is tested
        blocks = training.blocks()
        if blocks:
            add_priors(config, blocks)
        if training.start is not None:
            config['load_from'] = str(training.start)
            if blocks:
                config['model']['stage'] = 'two_stage'
        return config

    @property
    def text(self) -> str:
        """The config of the training as a file."""
        return _text(self.options)

    @property
    def stock(self) -> Config:
        """The stock config, with all bases merged into it."""
        return _read(self.training.stock)

    @property
    def inputs(self) -> Path:
        """``data_prefix.img`` below ``data_root``; where there is none, ``data_prefix.gt``."""
        return self._training_images('img')

    @property
    def targets(self) -> Path:
        """``data_prefix.gt`` below ``data_root``."""
        return self._training_images('gt')

    def _training_images(self, key: str) -> Path:
        dataset = self.options['train_dataloader']['dataset']
        prefix = dataset['data_prefix']
        return Path(dataset.get('data_root') or '') / (prefix.get(key) or prefix.get('gt') or '')

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of the last iteration."""
        return self.folder / 'work' / f'iter_{self.iterations}.pth'

    @property
    def resumable(self) -> bool:
        """Whether a checkpoint was saved."""
        return (self.folder / 'work/last_checkpoint').is_file()

    def train_command(self, launch: Launch, resume: bool) -> list[str]:
        """Return the command that trains, or resumes."""
        options = ['--work-dir', str(self.folder / 'work'), *(['--resume'] if resume else [])]
        return launch.command('sapd_plugin.mmagic.train', str(self.config), *options)

    def test_text(self, test_set: EvalSet, student: Path, save_images: bool) -> str:
        """Return the config of a test, stock but for the metrics' protocol."""
        model = dict(self.options['model'])
        if model['type'] == 'SAPDModel':
            stock = ('generator', 'pixel_loss', 'data_preprocessor', 'train_cfg', 'test_cfg')
            model = {
                **{key: model[key] for key in stock if key in model},
                'type': model.get('base_model_type', 'BaseEditModel'),
            }
        test = {
            'default_scope': 'mmagic',
            'custom_imports': {'imports': [PLUGIN], 'allow_failed_imports': False},
            'model': model,
            'test_dataloader': _dataloader(test_set),
            'test_evaluator': _metrics(test_set.table),
            'test_cfg': {'type': 'MultiTestLoop'},
            'env_cfg': self.options.get('env_cfg', {}),
        }
        if save_images:
            test['visualizer'] = {
                'type': 'ConcatImageVisualizer',
                'vis_backends': [{'type': 'LocalVisBackend'}],
                'fn_key': 'gt_path',
                'img_keys': ['pred_img'],
                'bgr2rgb': True,
            }
            test['custom_hooks'] = [{'type': 'BasicVisualizationHook', 'interval': 1}]
        return _text(test)

    def test_command(self, config: Path, test_set: EvalSet, student: Path) -> list[str]:
        """Return the command that tests."""
        work = self.folder / f'test_{test_set.name}'
        options = ['--work-dir', str(work), '--out', str(work / 'metrics.json')]
        return Launch().command('sapd_plugin.mmagic.test', str(config), str(student), *options)

    def read_metrics(self, test_set: EvalSet, output: str) -> dict[str, float]:
        """Read what MMagic wrote, at full precision."""
        path = self.folder / f'test_{test_set.name}' / 'metrics.json'
        metrics = json.loads(path.read_text(encoding='utf-8'))
        return {key.rsplit('/')[-1].lower().removeprefix('protocol'): float(value) for key, value in metrics.items()}

    def save_student(self, state: Mapping[str, Any], path: Path) -> None:
        """Write it as BaseEditModel's state dict."""
        torch.save({'meta': {}, 'state_dict': {f'generator.{key}': value for key, value in state.items()}}, path)

    @classmethod
    def read_log(cls, folder: Path, name: str) -> Log:
        """Read MMEngine's scalars. ``loss`` is the sum of losses, unless a model gives its own loss that name."""
        log = Log()
        for path in sorted((folder / 'work').glob('*/vis_data/scalars.json')):
            for scalars in map(json.loads, path.read_text(encoding='utf-8').splitlines()):
                for key in ('PSNR', 'ProtocolPSNR'):
                    values = [scalars[name] for name in scalars if name.rsplit('/')[-1] == key]
                    if values and 'step' in scalars:
                        log.curve[int(scalars['step'])] = float(values[-1])
                if 'psnr_refined' in scalars:
                    log.losses[int(scalars['step'])] = _losses(scalars)
        return log


@cache
def _read(path: Path) -> Config:
    """Read a config; it is not to be changed."""
    return Config.fromfile(path)


def _losses(scalars: Mapping[str, Any]) -> dict[str, float]:
    losses = {key.replace('loss_', 'l_', 1): float(scalars[key]) for key in scalars if key.startswith('loss_')}
    if losses.keys() == {'l_spf', 'l_spd', 'l_sgr'} & losses.keys() and 'loss' in scalars:
        losses['l_base'] = float(scalars['loss'])
    return losses | {key: float(scalars[key]) for key in ('psnr_restored', 'psnr_refined')}


def add_priors(config: dict[str, Any], blocks: Mapping[str, Mapping[str, Any]]) -> None:
    """Add the delta of the README to a stock config.

    Args:
        config: MMagic's, as plain dicts; changed.
        blocks: ``spf`` and ``dataset``, and ``spd``, ``sgr`` or both.
    """
    _load_plugin(config)
    model, dataset = config['model'], config['train_dataloader']['dataset']
    if model['type'] != 'BaseEditModel':
        model['base_model_type'] = model['type']
    model.update(type='SAPDModel', network_spf=dict(blocks['spf']))
    for key in ('spd', 'sgr'):
        if key in blocks:
            model[f'{key}_loss'] = dict(blocks[key])
    if dataset['type'] != 'BasicImageDataset':
        dataset['base_dataset_type'] = dataset['type']
    dataset.update(blocks['dataset'])
    config['default_hooks']['sapd'] = {'type': 'SAPDHook'}


def _dataloader(test_set: EvalSet) -> dict[str, Any]:
    table = test_set.table
    load = [{'type': 'LoadImageFromFile', 'key': key, 'channel_order': 'rgb'} for key in ('img', 'gt')]
    grey = [{'type': 'MATLABGrey'}] if canonical_color(table.protocol) == 'gray' else []
    noise = [] if table.sigma is None else [{'type': 'GaussianNoise', 'sigma': table.sigma, 'seed': 0}]
    return {
        'num_workers': 1,
        'persistent_workers': False,
        'drop_last': False,
        'sampler': {'type': 'DefaultSampler', 'shuffle': False},
        'dataset': {
            'type': 'BasicImageDataset',
            'metainfo': {'dataset_type': test_set.name, 'task_name': table.task},
            'data_root': str(test_set.folder),
            'data_prefix': {'img': test_set.kinds[0], 'gt': 'target'},
            'pipeline': [*load, *grey, *noise, {'type': 'PackInputs'}],
        },
    }


def _metrics(table: Table) -> list[dict[str, Any]]:
    return [
        {'type': kind, 'protocol': table.protocol, 'quantise': table.quantise, 'crop_border': 0}
        for kind in ('ProtocolPSNR', 'ProtocolSSIM')
    ]


def _load_plugin(config: dict[str, Any]) -> None:
    found = dict(config.get('custom_imports') or {'imports': []})
    if PLUGIN not in found['imports']:
        found['imports'] = [*found['imports'], PLUGIN]
    config['custom_imports'] = found


def _stretch(config: dict[str, Any], iterations: int) -> None:
    loop = config['train_cfg']
    factor = iterations / loop['max_iters']
    loop['max_iters'] = iterations
    schedulers = config.get('param_scheduler') or []
    for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
        for key in ('begin', 'end', 'T_max', 'step_size'):
            if scheduler.get(key):
                scheduler[key] = stretched(scheduler[key], factor)
        if 'milestones' in scheduler:
            scheduler['milestones'] = [stretched(i, factor) for i in scheduler['milestones']]
    hooks = config['default_hooks']
    for block, key in (
        (loop, 'val_interval'),
        (hooks.get('checkpoint', {}), 'interval'),
        (hooks.get('logger', {}), 'interval'),
    ):
        if key in block:
            block[key] = interval(block[key], iterations, factor)


def _text(config: Mapping[str, Any]) -> str:
    """A config file. MMEngine's own writer formats with yapf, which takes seconds."""
    return '\n'.join(f'{key} = {pformat(value, width=110, sort_dicts=False)}' for key, value in config.items()) + '\n'
