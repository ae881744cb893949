"""An MMagic training up to its first steps, built by MMEngine's runner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mmagic.registry import HOOKS, MODELS
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

import sapd_plugin.mmagic  # noqa: F401  (the import registers)
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.step_cost import ALL_ALIKE, Training, count_parameters, step_kinds
from sapd_plugin.evaluation.trial import LoadedData, Trial, from_the_start
from sapd_plugin.mmagic.delta import inner_datasets, is_sapd, plain, read_config, stock_model
from sapd_plugin.mmagic.hook import SAPDHook
from sapd_plugin.mmagic.run_checks import check_batches, run_checks
from sapd_plugin.mmagic.run_errors import named_parts


class MMagicTrial(Trial):
    """The training of a config; MMEngine's logs go to an empty ``folder``.

    Raises:
        SAPDError: the config cannot be read.
    """

    def __init__(self, config: Path, folder: Path, batch: int | None) -> None:
        init_default_scope('mmagic')
        MMLogger.get_instance('sapd_check', log_level='ERROR')  # hides the listing of all initial weights
        self._config, self._folder = read_config(str(config)), folder
        if not isinstance(self._config.get('model'), Mapping):
            raise SAPDError(f'{config}: model: missing, expected the config of an MMagic training.')
        model, loader = self._config.model, self._config.get('train_dataloader')
        full_batch = loader.get('batch_size') if isinstance(loader, Mapping) else None
        full_batch = full_batch if isinstance(full_batch, int) else 1  # anything else is refused by the checks
        super().__init__(is_sapd(self._config), model.get('sgr_loss'), model.get('online'), full_batch, batch)

    def check_wiring(self) -> str:
        """Check the run's config as training does, and build the model, which checks its own."""
        run_checks(self._config)
        with named_parts():
            MODELS.build(plain(self._config.model))
        base = self._config.model.get('base_model_type', 'BaseEditModel')
        return f'{_name(base)} with {_name(self._config.model.generator.type)}'

    def folders(self) -> dict[str, Path]:
        """Return each ``data_prefix`` of training and validation below its ``data_root``."""
        found: dict[str, Path] = {}
        for phase in ('train_dataloader', 'val_dataloader'):
            loaders = self._config.get(phase) or []
            for loader in [loaders] if isinstance(loaders, Mapping) else loaders:
                for where, dataset in inner_datasets(loader, phase):
                    prefixes = dataset.get('data_prefix')
                    for key, prefix in (prefixes if isinstance(prefixes, Mapping) else {}).items():
                        path = os.path.join(dataset.get('data_root') or '', prefix or '')
                        if '://' not in path:
                            found[f'{where}.data_prefix.{key}'] = Path(path)
        return found

    def load_data(self) -> LoadedData:
        """Build the training set and load one batch."""
        loader = plain(self._config.train_dataloader)
        for key in ('persistent_workers', 'prefetch_factor'):
            loader.pop(key, None)
        with named_parts():
            self._loader = Runner.build_dataloader({**loader, 'num_workers': 0, 'batch_size': self.batch})
        built = self._loader
        check_batches(built.dataset, built.sampler, built.batch_size and self.full_batch, built.drop_last)
        self._data = next(iter(built))
        dataset = self._loader.dataset
        while not hasattr(dataset, 'mask_store') and (inner := getattr(dataset, 'dataset', None) or _first(dataset)):
            dataset = inner
        texts = [getattr(dataset, name, '') for name in ('mask_note', 'mask_warning')]
        return LoadedData(len(dataset), getattr(dataset, 'mask_store', None), *texts)

    def build(self, stock: bool) -> Training:
        """Build the runner up to the first step."""
        with named_parts():
            runner = self._runner(stock)
            model, data = runner.train(), self._data
        ours = [hook for hook in runner.hooks if isinstance(hook, SAPDHook)]

        def step(iteration: int) -> None:
            runner.train_loop._iter = iteration - 1  # from which SAPDHook tells the model its iteration
            runner.call_hook('before_train_iter', batch_idx=0, data_batch=data)
            outputs = model.train_step(data, optim_wrapper=runner.optim_wrapper)
            for hook in ours:  # checks the losses and updates the teacher
                hook.after_train_iter(runner, 0, data, outputs)

        if stock:
            return Training(step, ALL_ALIKE)
        self.parameters = {'student': count_parameters(model.generator), 'SPF': count_parameters(model.spf)}
        return Training(step, step_kinds(model.in_training.distiller))

    def _runner(self, stock: bool) -> Runner:
        """Build the runner of this training as the train tool does, with its output in the folder.

        Its loop prepares the training and leaves the steps to the caller.
        """
        config = Config(self._config.to_dict())  # a copy, with the classes of a config in pure Python as text
        model = plain(config.model)
        model.update({key: from_the_start(model.get(key)) for key in ('spd_loss', 'sgr_loss')})
        if stock:
            model = stock_model(model)
            config['default_hooks'] = {
                name: hook for name, hook in (config.get('default_hooks') or {}).items() if not _is_ours(hook)
            }
            config['custom_hooks'] = [hook for hook in config.get('custom_hooks') or [] if not _is_ours(hook)]
            if config.optim_wrapper.pop('spf_optimizer', None):
                config.optim_wrapper.pop('constructor')
        changes = {
            'model': model,
            'work_dir': str(self._folder),
            'visualizer': None,  # may write to a service
            'resume': False,
            'default_scope': 'mmagic',
            'log_level': 'ERROR',
            'experiment_name': f'sapd_check_{"stock" if stock else "sapd"}_{self._folder.name}',
        }
        for key, value in changes.items():
            config[key] = value  # Config.update would merge blocks
        runner = Runner.from_cfg(config)
        runner._train_dataloader = self._loader  # not built again, and of the batch that is checked
        loop = runner.build_train_loop(runner._train_loop)
        loop.run = partial(_prepare, runner)
        runner._train_loop = loop
        return runner


def _prepare(runner: Runner) -> Any:
    runner.call_hook('before_train')
    runner.call_hook('before_train_epoch')  # starts MMEngine's timer
    return runner.model


def _is_ours(hook: Any) -> bool:
    return isinstance(hook, Mapping) and HOOKS.get(hook['type']) is SAPDHook


def _name(kind: object) -> str:
    return getattr(kind, '__name__', str(kind))


def _first(dataset: Any) -> Any:
    """Return the first data set of a ConcatDataset, or None."""
    return next(iter(getattr(dataset, 'datasets', ())), None)
