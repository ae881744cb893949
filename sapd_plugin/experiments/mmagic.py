"""A table's cells in MMagic: its configs made from the stock config, its own tools, what they write."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from pprint import pformat
from typing import Any

import torch
from mmengine.config import Config

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

PLUGIN = 'sapd_plugin.mmagic'


class MMagic:
    """Implements :class:`tables.runs.Framework`."""

    name, suffix = 'mmagic', '.py'

    def training(self, training: Training) -> str:
        """The config of the training, with all bases merged into it."""
        config = _plain(Config.fromfile(training.stock))
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
        if training.batch is not None:
            config['train_dataloader']['batch_size'] = training.batch
        if training.iterations is not None:
            _stretch(config, training.iterations)
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
        return _text(config)

    def train_command(self, config: Path, folder: Path, launch: Launch, resume: bool) -> list[str]:
        """``tools/mmagic_train.py``."""
        work = ['--work-dir', str(folder / 'work')]
        return launch.command('sapd_plugin.mmagic.train', str(config), *work, *(['--resume'] if resume else []))

    def begun(self, config: Path, folder: Path) -> bool:
        """Whether a checkpoint was saved."""
        return (folder / 'work/last_checkpoint').is_file()

    def trained(self, config: Path, folder: Path) -> Path | None:
        """The checkpoint of the last iteration."""
        path = folder / 'work' / f'iter_{self.iterations(config)}.pth'
        return path if path.is_file() else None

    def iteration(self, line: str) -> int | None:
        """Read MMEngine's log."""
        found = re.search(r'Iter\(train\)\s*\[\s*(\d+)/', line)
        return int(found[1]) if found else None

    def iterations(self, config: Path) -> int:
        """``train_cfg.max_iters``."""
        return int(Config.fromfile(config).train_cfg.max_iters)

    def batch(self, stock: Path) -> int:
        """``train_dataloader.batch_size``."""
        return int(Config.fromfile(stock).train_dataloader.batch_size)

    def training_inputs(self, config: Path) -> Path:
        """``data_prefix.img`` below ``data_root``; where there is none, ``data_prefix.gt``."""
        return _folder(config, 'img')

    def training_targets(self, config: Path) -> Path:
        """``data_prefix.gt`` below ``data_root``."""
        return _folder(config, 'gt')

    def testing(self, config: Path, testing: Evaluation) -> str:
        """The config of a test, stock but for the metrics' protocol."""
        found = _plain(Config.fromfile(config))
        table, model = testing.test_set.table, dict(found['model'])
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
            'test_dataloader': _dataloader(testing.test_set),
            'test_evaluator': _metrics(table),
            'test_cfg': {'type': 'MultiTestLoop'},
            'env_cfg': found.get('env_cfg', {}),
        }
        if testing.save_images:
            test['visualizer'] = {
                'type': 'ConcatImageVisualizer',
                'vis_backends': [{'type': 'LocalVisBackend'}],
                'fn_key': 'gt_path',
                'img_keys': ['pred_img'],
                'bgr2rgb': True,
            }
            test['custom_hooks'] = [{'type': 'BasicVisualizationHook', 'interval': 1}]
        return _text(test)

    def test_command(self, config: Path, folder: Path, testing: Evaluation) -> list[str]:
        """``tools/mmagic_test.py``."""
        work = folder / f'test_{testing.test_set.name}'
        out = ['--work-dir', str(work), '--out', str(work / 'metrics.json')]
        return Launch().command('sapd_plugin.mmagic.test', str(config), str(testing.checkpoint), *out)

    def metrics(self, folder: Path, output: str) -> dict[str, float]:
        """What MMagic wrote, at full precision."""
        found = json.loads((folder / 'metrics.json').read_text(encoding='utf-8'))
        return {key.rsplit('/')[-1].lower().removeprefix('protocol'): float(value) for key, value in found.items()}

    def save_student(self, state: Mapping[str, Any], path: Path) -> None:
        """As BaseEditModel's state dict."""
        torch.save({'meta': {}, 'state_dict': {f'generator.{key}': value for key, value in state.items()}}, path)

    def curve(self, config: Path, folder: Path) -> list[tuple[int, float]]:
        """From MMEngine's scalars; a resumed training has several files."""
        points = {}
        for scalars in _scalars(folder):
            for key, value in scalars.items():
                if key.rsplit('/')[-1] in ('PSNR', 'ProtocolPSNR') and 'step' in scalars:
                    points[int(scalars['step'])] = float(value)
        return sorted(points.items())

    def logged(self, config: Path, folder: Path) -> dict[int, dict[str, float]]:
        """From MMEngine's scalars; ``loss`` is their sum, but where a model calls its own loss so, which hides it."""
        found = {}
        for scalars in _scalars(folder):
            losses = {key.replace('loss_', 'l_', 1): float(scalars[key]) for key in scalars if key.startswith('loss_')}
            if losses.keys() == {'l_spf', 'l_spd', 'l_sgr'} & losses.keys() and 'loss' in scalars:
                losses['l_base'] = float(scalars['loss'])
            if 'psnr_refined' in scalars:
                psnrs = {key: float(scalars[key]) for key in ('psnr_restored', 'psnr_refined')}
                found[int(scalars['step'])] = losses | psnrs
        return found


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


def _scalars(folder: Path) -> Iterator[dict[str, Any]]:
    for path in sorted((folder / 'work').glob('*/vis_data/scalars.json')):
        for line in path.read_text(encoding='utf-8').splitlines():
            yield json.loads(line)


def _dataloader(test_set: EvalSet) -> dict[str, Any]:
    table = test_set.table
    load = [{'type': 'LoadImageFromFile', 'key': key, 'channel_order': 'rgb'} for key in ('img', 'gt')]
    grey = [{'type': 'MATLABGrey'}] if table.protocol == 'grey' else []
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


def _folder(config: Path, key: str) -> Path:
    dataset = Config.fromfile(config).train_dataloader.dataset
    prefix = dataset.data_prefix
    return Path(dataset.get('data_root') or '') / (prefix.get(key) or prefix.get('gt') or '')


def _text(config: Mapping[str, Any]) -> str:
    """A config file. MMEngine's own writer formats with yapf, which takes seconds."""
    return '\n'.join(f'{key} = {pformat(value, width=110, sort_dicts=False)}' for key, value in config.items()) + '\n'


def _plain(config: Config) -> dict[str, Any]:
    return config.to_dict()
