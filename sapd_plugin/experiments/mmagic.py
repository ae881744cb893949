"""Cells of tables in MMagic: configs made from the stock config, MMagic's own tools, and their output."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from pprint import pformat
from typing import Any

import torch

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.config_changes import Place
from sapd_plugin.experiments.definitions import Launch, Table
from sapd_plugin.experiments.run import EvalSet, Log, Run
from sapd_plugin.metrics import canonical_color
from sapd_plugin.mmagic.delta import inner_datasets, read_config

PLUGIN = 'sapd_plugin.mmagic'

warnings.filterwarnings('ignore', message='pkg_resources is deprecated')  # MMEngine imports it for each config


class MMagicRun(Run):
    """A cell in MMagic, which writes to ``work`` in the cell's folder."""

    framework, suffix, checkpoints, states = 'mmagic', '.py', 'work/iter_{iterations}.pth', 'work/last_checkpoint'
    network_key, iterations_key, batch_key = 'model.generator', 'train_cfg.max_iters', 'train_dataloader.batch_size'

    @staticmethod
    @cache
    def read_config(path: Path) -> dict[str, Any]:
        """Read a config and merge its base configs into it."""
        return read_config(str(path)).to_dict()

    @staticmethod
    def schedule(options: dict[str, Any]) -> tuple[list[Place], list[Place]]:
        """Return the places of iterations and intervals."""
        loop, hooks, schedulers = options['train_cfg'], options['default_hooks'], options.get('param_scheduler') or []
        points = [(loop, 'max_iters')]
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers]:
            points += [(scheduler, key) for key in ('begin', 'end', 'T_max', 'step_size', 'milestones')]
        own = [(hooks.get(name, {}), 'interval') for name in ('checkpoint', 'logger')]
        return points, [(loop, 'val_interval'), *own]

    def adapt(self, options: dict[str, Any]) -> None:
        """Set the name, seed, noise, validation, priors and initial weights."""
        imports = dict(options.get('custom_imports') or {'imports': []})
        if PLUGIN not in imports['imports']:
            imports['imports'] = [*imports['imports'], PLUGIN]
        options.update(custom_imports=imports, experiment_name=self.cell.name, work_dir='work')
        options['randomness'] = {**options.get('randomness', {}), 'seed': self.cell.seed}
        hooks = options['default_hooks']
        for key in ('out_dir', 'save_best'):  # checkpoints go to work_dir, and the last iteration is tested
            hooks.get('checkpoint', {}).pop(key, None)
        # Otherwise all validations are logged under epoch 0.
        hooks['logger'] = {'type': 'LoggerHook', **hooks.get('logger', {}), 'log_metric_by_epoch': False}
        datasets = [dataset for _, dataset in inner_datasets(options['train_dataloader']['dataset'])]
        for transform in (each for dataset in datasets for each in dataset.get('pipeline') or []):
            if self.table.sigma is not None and isinstance(transform.get('sigma'), (int, float)):
                transform['sigma'] = self.table.sigma
        options.update(
            val_dataloader=_dataloader(self.validation),
            val_evaluator=_metrics(self.table),
            val_cfg={'type': 'MultiValLoop'},
            test_dataloader=None,
            test_evaluator=None,
            test_cfg=None,
        )
        if self.blocks:
            _add_priors(options, self.blocks)
        if self.teacher is not None:
            raise SAPDError(f'{self.cell}: its teacher is SPF of another arm, which only BasicSR loads by itself.')
        if self.start is not None:
            options['load_from'] = str(self.start.student)
            if self.blocks:
                options['model']['stage'] = 'two_stage'

    @staticmethod
    def dump(options: Mapping[str, Any]) -> str:
        """Return a config as Python code. MMEngine's own writer uses yapf, which takes seconds."""
        lines = [f'{key} = {pformat(value, width=110, sort_dicts=False)}' for key, value in options.items()]
        return '\n'.join(lines) + '\n'

    @property
    def training_images(self) -> dict[str, Path]:
        """The folders ``data_prefix.img`` (or else ``data_prefix.gt``) and ``data_prefix.gt`` below ``data_root``."""
        _, dataset = next(inner_datasets(self.options['train_dataloader']['dataset']))
        root, prefix = Path(dataset.get('data_root') or ''), dataset['data_prefix']
        target = prefix.get('gt') or ''
        return {'input': root / (prefix.get('img') or target), 'target': root / target}

    def train_command(self, resume: bool) -> list[str]:
        """Return the command that starts or resumes training."""
        options = ['--work-dir', str(self.folder / 'work'), *(['--resume'] if resume else [])]
        return self.settings.launch.command('sapd_plugin.mmagic.train', str(self.config), *options)

    def test_options(self, test_set: EvalSet) -> dict[str, Any]:
        """Return the config for testing the student."""
        model = dict(self.options['model'])
        if model['type'] == 'SAPDModel':
            stock = ('generator', 'pixel_loss', 'data_preprocessor', 'train_cfg', 'test_cfg')
            kind = model.get('base_model_type', 'BaseEditModel')
            model = {**{key: model[key] for key in stock if key in model}, 'type': kind}
        test = {
            'default_scope': 'mmagic',
            'custom_imports': {'imports': [PLUGIN], 'allow_failed_imports': False},
            'model': model,
            'test_dataloader': _dataloader(test_set),
            'test_evaluator': _metrics(self.table),
            'test_cfg': {'type': 'MultiTestLoop'},
            'env_cfg': self.options.get('env_cfg', {}),
        }
        if self.settings.save_images:
            test['visualizer'] = {
                'type': 'ConcatImageVisualizer',
                'vis_backends': [{'type': 'LocalVisBackend'}],
                'fn_key': 'gt_path',
                'img_keys': ['pred_img'],
                'bgr2rgb': True,
            }
            test['custom_hooks'] = [{'type': 'BasicVisualizationHook', 'interval': 1}]
        return test

    def test_command(self, config: Path, test_set: EvalSet) -> list[str]:
        """Return the command that runs the test."""
        work = self.folder / f'test_{test_set.name}'
        options = ['--work-dir', str(work), '--out', str(work / 'metrics.json')]
        return Launch().command('sapd_plugin.mmagic.test', str(config), str(self.student), *options)

    def read_metrics(self, test_set: EvalSet, output: str) -> dict[str, float]:
        """Read the metrics that MMagic wrote, at full precision."""
        path = self.folder / f'test_{test_set.name}' / 'metrics.json'
        metrics = json.loads(path.read_text(encoding='utf-8'))
        return {key.rsplit('/')[-1].lower().removeprefix('protocol'): float(value) for key, value in metrics.items()}

    @staticmethod
    def save_student(state: Mapping[str, Any], path: Path) -> None:
        """Write the weights as a state dict of BaseEditModel."""
        torch.save({'meta': {}, 'state_dict': {f'generator.{key}': value for key, value in state.items()}}, path)

    @staticmethod
    def read_log(folder: Path, name: str) -> Log:
        """Read MMEngine's scalars. ``loss`` is the sum of the losses, unless a model has a loss of that name."""
        log = Log()
        for path in sorted((folder / 'work').glob('*/vis_data/scalars.json')):
            for scalars in _lines(path):
                for key in ('PSNR', 'ProtocolPSNR'):
                    values = [scalars[name] for name in scalars if name.rsplit('/')[-1] == key]
                    if values and 'step' in scalars:
                        log.curve[int(scalars['step'])] = float(values[-1])
                if 'psnr_refined' in scalars:
                    log.losses[int(scalars['step'])] = _losses(scalars)
        return log


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the complete lines of MMEngine's log, whose last one may be half a line after the training was killed."""
    *lines, last = path.read_text(encoding='utf-8', errors='replace').split('\n')
    for number, line in enumerate(lines, start=1):
        try:
            scalars = json.loads(line)
        except ValueError as error:
            raise SAPDError(f'{path} line {number}: {error}, expected the values that MMEngine logged.') from error
        if isinstance(scalars, dict):
            yield scalars


def _losses(scalars: Mapping[str, Any]) -> dict[str, float]:
    losses = {key.replace('loss_', 'l_', 1): float(scalars[key]) for key in scalars if key.startswith('loss_')}
    if losses.keys() == {'l_spf', 'l_spd', 'l_sgr'} & losses.keys() and 'loss' in scalars:
        losses['l_base'] = float(scalars['loss'])
    return losses | {key: float(scalars[key]) for key in ('psnr_restored', 'psnr_refined')}


def _add_priors(config: dict[str, Any], blocks: Mapping[str, Mapping[str, Any]]) -> None:
    """Add SAPD to a stock config, as the README shows, from the blocks of `Run.blocks`."""
    model = config['model']
    if model['type'] != 'BaseEditModel':
        model['base_model_type'] = model['type']
    model.update(type='SAPDModel', network_spf=dict(blocks['spf']), **blocks['step'])
    for key in ('spd', 'sgr'):
        if key in blocks:
            model[f'{key}_loss'] = dict(blocks[key])
    for _, dataset in inner_datasets(config['train_dataloader']['dataset']):
        assert isinstance(dataset, dict)
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
