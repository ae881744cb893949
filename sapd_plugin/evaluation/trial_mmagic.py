"""An MMagic training up to its first steps, built by MMEngine's runner."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmagic.registry import MODELS
from mmengine.logging import MMLogger
from mmengine.registry import init_default_scope
from mmengine.runner import IterBasedTrainLoop, Runner

import sapd_plugin.mmagic  # noqa: F401  (the import registers)
from sapd_plugin.evaluation.step_cost import ALL_ALIKE, Training, count_parameters, step_kinds
from sapd_plugin.evaluation.trial import LoadedData, Trial, from_the_start
from sapd_plugin.mmagic.delta import inner_datasets, is_sapd, plain, read_config, stock_model
from sapd_plugin.mmagic.hook import SAPDHook


class _ReadyLoop(IterBasedTrainLoop):
    """Train loop that prepares the training and leaves the steps to the caller."""

    def run(self) -> Any:
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')  # starts MMEngine's timer
        return self.runner.model


class MMagicTrial(Trial):
    """The training of a config; MMEngine's logs go to an empty ``folder``.

    Raises:
        SAPDError: the config cannot be read.
    """

    def __init__(self, config: Path, folder: Path, batch: int | None) -> None:
        init_default_scope('mmagic')
        MMLogger.get_instance('sapd_check', log_level='ERROR')  # hides the listing of all initial weights
        self._config, self._folder = read_config(str(config)), folder
        model, loader = (self._config.get(key, {}) for key in ('model', 'train_dataloader'))
        full_batch = int(loader.get('batch_size', 1))
        super().__init__(is_sapd(self._config), model.get('sgr_loss'), model.get('online'), full_batch, batch)

    def check_wiring(self) -> str:
        """Build the model, which checks its config."""
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
        self._loader = Runner.build_dataloader({**loader, 'num_workers': 0, 'batch_size': self.batch})
        self._data = next(iter(self._loader))
        dataset = self._loader.dataset
        while not hasattr(dataset, 'mask_store') and (inner := getattr(dataset, 'dataset', None) or _first(dataset)):
            dataset = inner
        texts = [getattr(dataset, name, '') for name in ('mask_note', 'mask_warning')]
        return LoadedData(len(dataset), getattr(dataset, 'mask_store', None), *texts)

    def build(self, stock: bool) -> Training:
        """Build the runner up to the first step."""
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
        """Build the runner of this training, without validation, checkpoints and output."""
        config = self._config
        blocks = ('model', 'default_hooks', 'optim_wrapper')
        model, hooks, wrapper = (plain(config.get(key) or {}) for key in blocks)
        model.update({key: from_the_start(model.get(key)) for key in ('spd_loss', 'sgr_loss')})
        if stock:
            model = stock_model(model)
            ours = ('SAPDHook', SAPDHook)
            hooks = {key: hook for key, hook in hooks.items() if not hook or hook.get('type') not in ours}
            if wrapper.pop('spf_optimizer', None):
                wrapper.pop('constructor')
        return Runner(
            model=model,
            work_dir=str(self._folder),
            train_dataloader=self._loader,
            train_cfg={'type': _ReadyLoop, 'max_iters': 1},
            optim_wrapper=wrapper,
            default_hooks={**hooks, 'checkpoint': None},
            custom_hooks=config.get('custom_hooks'),
            load_from=config.get('load_from'),
            env_cfg=config.get('env_cfg') or {'dist_cfg': {'backend': 'nccl'}},
            randomness=config.get('randomness') or {'seed': None},
            default_scope='mmagic',
            log_level='ERROR',
            experiment_name=f'sapd_check_{"stock" if stock else "sapd"}_{self._folder.name}',
        )


def _name(kind: object) -> str:
    return getattr(kind, '__name__', str(kind))


def _first(dataset: Any) -> Any:
    """Return the first data set of a ConcatDataset, or None."""
    return next(iter(getattr(dataset, 'datasets', ())), None)
