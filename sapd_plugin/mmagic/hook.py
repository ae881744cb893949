"""The hook that makes a runner train a SAPDModel: iteration, checkpoints without SPF, resume, pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from sapd_plugin.core import start_from
from sapd_plugin.errors import SAPDError
from sapd_plugin.mmagic.optim import clip_apart
from sapd_plugin.priors.inspection.pictures import strip

PREFIX = 'spf.'
ENTRY = 'sapd'
STUDENT = 'generator.'


class SAPDHook(Hook):
    """Keeps everything that is for training alone out of the student's checkpoint, and shows the latest patch.

    A checkpoint's ``state_dict`` is the stock model's. SPF, the masks' fingerprint and the main process's random state
    go to an entry of their own, ``sapd``, from which a resumed run takes them.

    Args:
        picture_interval: also show the latest training patch every so many iterations, beside after each validation;
            0 = after validation only.
    """

    # After EMAHook, which exchanges the weights of state_dict when it saves and when it loads.
    priority = 'BELOW_NORMAL'

    def __init__(self, picture_interval: int = 0) -> None:
        self.picture_interval = picture_interval
        self._random_state: torch.Tensor | None = None

    def before_train(self, runner: Runner) -> None:
        """Build what training needs, before the first step.

        Raises:
            SAPDError: the model is no SAPDModel, the optimizer is none that trains both networks, and all that
                ``prepare_training`` refuses.
        """
        model = _model(runner)
        if not isinstance(runner.optim_wrapper, OptimWrapper):
            raise SAPDError(
                f'optim_wrapper: found {type(runner.optim_wrapper).__name__}, expected one OptimWrapper for student '
                'and SPF. An optimizer of its own for SPF: constructor=SAPDOptimWrapperConstructor and spf_optimizer.'
            )
        model.prepare_training(runner._load_from, next(model.generator.parameters()).device)
        clip_apart(runner.optim_wrapper, model.spf.parameters())

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Tell the model the iteration, counted from 1, for the schedules."""
        _model(runner).in_training.iteration = runner.iter + 1
        if self._random_state is not None:
            # Not earlier: the loop first advances the data over what was trained already.
            torch.set_rng_state(self._random_state)
            self._random_state = None

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Show the latest patch every ``picture_interval`` iterations."""
        if self.picture_interval and (runner.iter + 1) % self.picture_interval == 0:
            self._show(runner, runner.iter + 1)

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Show the latest patch after each validation of a training."""
        self._show(runner, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Move SPF out of the student's state dict."""
        student = checkpoint['state_dict']
        spf = {key[len(PREFIX) :]: student.pop(key) for key in list(student) if key.startswith(PREFIX)}
        checkpoint[ENTRY] = {
            'spf': spf,
            'mask_fingerprints': _fingerprints(runner),
            'random_state': torch.get_rng_state(),
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Put SPF back beside the student, or leave SPF as it is where the checkpoint is a stock one.

        Raises:
            SAPDError: to be resumed is a stock run, or one whose masks were cut with other settings.
        """
        entry = checkpoint.get(ENTRY)
        if runner._resume:
            if entry is None:
                raise SAPDError(
                    'resume: the checkpoint is of a stock run, which cannot be resumed as a SAPD run. Start one with '
                    "its student: load_from, and model.stage='two_stage'."
                )
            found, saved = _fingerprints(runner), entry['mask_fingerprints']
            if found != saved:
                raise SAPDError(
                    f'train_dataloader.dataset.mask_store: its settings fingerprint is {found}, the run to resume '
                    f'began with {saved}.'
                )
            if runner.rank == 0:
                self._random_state = entry['random_state'].cpu()
        if entry is None and _model(runner).sapd['stage'] == 'two_stage':
            student = checkpoint['state_dict']
            weights = {key[len(STUDENT) :]: value for key, value in student.items() if key.startswith(STUDENT)}
            fits = start_from(_model(runner).spf, weights)
            start = 'starts with the weights of the generator' if fits else 'is another network: from scratch'
            runner.logger.info(f'network_spf: the second network {start}.')
        spf = entry['spf'] if entry else _model(runner).spf.state_dict()
        checkpoint['state_dict'].update({PREFIX + key: value for key, value in spf.items()})

    def _show(self, runner: Runner, iteration: int) -> None:
        training = _model(runner).in_training
        if training.latest is None or runner.rank != 0:
            return
        degraded, step = training.latest
        photos = [photo.numpy() for photo in step.photos(degraded, training.distiller.to_rgb)]
        picture = strip(photos, step.mask[0, 0].cpu().numpy())
        runner.visualizer.add_image('sapd_degraded_restored_refined_gt_mask', picture, iteration)


def _model(runner: Runner) -> Any:
    """Return the SAPDModel, unwrapped."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not hasattr(model, 'in_training'):
        raise SAPDError(f"model.type: SAPDHook found {type(model).__name__}, expected 'SAPDModel'.")
    return model


def _fingerprints(runner: Runner) -> list[str]:
    """Fingerprints of the mask stores that training reads."""
    return sorted({store.fingerprint for store in _stores(runner.train_dataloader.dataset)})


def _stores(dataset: Any) -> Iterator[Any]:
    """Look through MMEngine's wrappers (RepeatDataset, ConcatDataset, ...)."""
    store = getattr(dataset, 'mask_store', None)
    if store is not None:
        yield store
    for inner in [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or [])]:
        if inner is not None:
            yield from _stores(inner)
