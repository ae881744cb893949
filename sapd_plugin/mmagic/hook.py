"""The hook that a runner needs to train a SAPDModel: iteration, checkpoints without SPF, resume, pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from mmagic.datasets import BasicImageDataset
from mmagic.registry import HOOKS
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner

from sapd_plugin.core import FiniteCheck, ShareWatch, changes, needs_stored_masks, start_from
from sapd_plugin.errors import SAPDError, check_count, check_keys, describe
from sapd_plugin.files import delete_drafts
from sapd_plugin.mmagic.entry import (
    ENTRY,
    RestoringIterator,
    check_fits,
    entry_of,
    give_logs,
    options_of,
    random_state,
    restore_random_state,
    student_of,
    take_logs,
)
from sapd_plugin.mmagic.log import StepLog
from sapd_plugin.mmagic.model import image_channels
from sapd_plugin.mmagic.optim import (
    accumulated_gradients,
    clip_apart,
    guard,
    rest,
    restore_gradients,
    scales_losses,
)
from sapd_plugin.mmagic.run_checks import check_batches, run_checks
from sapd_plugin.mmagic.saving import choose_resumed
from sapd_plugin.priors.inspection.pictures import strip

PREFIX = 'spf.'
STUDENT = 'generator.'


@HOOKS.register_module()
class SAPDHook(Hook):
    """Keep everything that only training needs out of the student's checkpoint, and show the latest patch.

    A checkpoint's ``state_dict`` is the stock model's. SPF, its moving average, the masks' fingerprint, and the main
    process's random state and accumulated gradients go to a separate entry, ``sapd``, which a resumed run reads.

    Private attributes of MMEngine, checked against 0.10.7: the Runner's ``_load_from`` and ``_resume``, and the
    OptimWrapper's ``_accumulative_counts``.

    Args:
        picture_interval: show the latest training patch every so many iterations, in addition to each validation; 0 =
            only after validation.

        **unknown: refused by name.

    Raises:
        SAPDError: an unknown key, or ``picture_interval`` is not an integer of at least 0.
    """

    # After EMAHook, which swaps the weights of state_dict when it saves and when it loads.
    priority = 'BELOW_NORMAL'

    def __init__(self, picture_interval: int = 0, **unknown: Any) -> None:
        check_keys('SAPDHook', unknown, ['picture_interval'])
        check_count('SAPDHook.picture_interval', picture_interval, at_least=0)
        self.picture_interval = picture_interval
        self._random_state: dict[str, Any] = {}
        self._teacher: dict[str, torch.Tensor] = {}
        self._check_finite = FiniteCheck()
        self._watch_shares: ShareWatch | None = None

    def before_run(self, runner: Runner) -> None:
        """Choose the checkpoint to resume from, and refuse one that is not whole, before MMEngine reads it.

        Raises:
            SAPDError: naming it.
        """
        choose_resumed(runner)

    def before_train(self, runner: Runner) -> None:
        """Build what training needs, before the first step.

        Raises:
            SAPDError: the model is not a SAPDModel, there is no single optimizer wrapper for both networks, chunks of
                a compiled step, a data set without what training reads, or ``prepare_training`` fails.
        """
        model = _model(runner)
        if runner.cfg.get('model') is not None:  # a runner may be built without a config
            run_checks(runner.cfg)
        if not isinstance(runner.optim_wrapper, OptimWrapper):
            raise SAPDError(
                f'optim_wrapper: found {type(runner.optim_wrapper).__name__}, expected one OptimWrapper for student '
                'and SPF. For a separate optimizer of SPF: constructor=SAPDOptimWrapperConstructor and spf_optimizer.'
            )
        if runner.cfg.get('compile') and model.settings.chunks > 1:
            raise SAPDError(
                f"model.chunks: found {model.settings.chunks}, expected 1 beside MMEngine's compile, because SPF "
                'cannot run again inside of compiled code.'
            )
        loader = runner.train_dataloader
        for dataset in _datasets(loader.dataset):
            _check_dataset(dataset, model)
        check_batches(loader.dataset, loader.sampler, loader.batch_size, loader.drop_last)
        if runner.rank == 0:
            delete_drafts(Path(runner.work_dir))
        loop = runner.train_loop
        if self._random_state and hasattr(loop, 'dataloader_iterator'):
            restore, self._random_state = partial(restore_random_state, self._random_state), {}
            loop.dataloader_iterator = RestoringIterator(loop.dataloader_iterator, runner.iter, restore)
        wrapper, device = runner.optim_wrapper, next(model.generator.parameters()).device
        model.prepare_training(runner._load_from, device, wrapper._accumulative_counts)
        distiller = model.in_training.distiller
        self._watch_shares = ShareWatch(distiller, runner.logger.warning)
        average = distiller.teacher.average
        if average is not None and self._teacher:
            average.load_state_dict(self._teacher)
        branch = list(model.spf.parameters())
        clip_apart(wrapper, branch)
        rest(wrapper, branch, model.in_training.spf_was_trained)
        if scales_losses(wrapper):
            guard(branch)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Tell the model the iteration, counted from 1, for the schedules."""
        _model(runner).in_training.iteration = runner.iter + 1
        if self._random_state:
            # Of an epoch-based loop, which does not skip data that were used for training already.
            restore_random_state(self._random_state)
            self._random_state = {}

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Check losses and shares, update the teacher, and show the latest patch every ``picture_interval`` iterations.

        Raises:
            FloatingPointError: a loss is NaN or infinite, and no loss scaler skips such steps, or it has skipped
                100 in a row. All processes raise it in the same iteration.
        """
        iteration, wrapper, model = runner.iter + 1, runner.optim_wrapper, _model(runner)
        if isinstance(outputs, StepLog):
            self._check_finite(outputs.losses, iteration, scales_losses(wrapper))
            assert self._watch_shares is not None
            self._watch_shares({name: value.item() for name, value in outputs.items()}, iteration)
        distiller = model.in_training.distiller
        if distiller.trains(iteration) and wrapper.should_update():
            distiller.teacher.update(model.spf)
        if self.picture_interval and iteration % self.picture_interval == 0:
            self._show(runner, iteration)

    def after_val_epoch(self, runner: Runner, metrics: Any = None) -> None:
        """Show the latest patch after each validation during training."""
        self._show(runner, runner.iter)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Move SPF out of the student's state dict, and logs to where torch reads them without this package."""
        student = checkpoint['state_dict']
        spf = {key[len(PREFIX) :]: student.pop(key) for key in list(student) if key.startswith(PREFIX)}
        average = _model(runner).in_training.distiller.teacher.average
        checkpoint[ENTRY] = {
            'spf': spf,
            'teacher': {} if average is None else average.state_dict(),
            'mask_fingerprints': _fingerprints(runner),
            'gradients': accumulated_gradients(runner.optim_wrapper),
            **random_state(),
            'logs': take_logs(checkpoint),
            'options': options_of(runner),
        }

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict[str, Any]) -> None:
        """Restore SPF in the state dict, or keep SPF as it is if the checkpoint is a stock one.

        Raises:
            SAPDError: the checkpoint comes from a stock run, and resumes this one or holds no teacher for it; or its
                masks have a different fingerprint; or it is not a checkpoint of a run.
        """
        with _of_this_run(runner):
            student, entry = student_of(checkpoint), entry_of(checkpoint)
        give_logs(checkpoint, {} if entry is None else entry.get('logs', {}))
        if runner._resume:
            if entry is None:
                raise SAPDError(
                    f'resume: {runner._load_from} comes from a stock run, which cannot be resumed as a SAPD run. Start '
                    "one with its student: load_from, and model.stage='two_stage'."
                )
            found, saved = _fingerprints(runner), entry['mask_fingerprints']
            if found != saved:
                raise SAPDError(
                    f'train_dataloader.dataset.mask_store: its fingerprint is {found}, the run to resume '
                    f'started with {saved}.'
                )
            if changed := changes.changes(entry.get('options', options_of(runner)), options_of(runner)):
                runner.logger.warning(changes.warning_of(changed))
            self._teacher = entry.get('teacher', {})
            if gradients := entry.get('gradients'):
                restore_gradients(runner.optim_wrapper, gradients)
                runner.logger.info('The checkpoint is within a step of the optimizer. Its gradients are restored.')
            if runner.rank == 0:
                self._random_state = entry
        settings = _model(runner).settings
        if entry is None and settings.teacher == 'frozen' and settings.freeze_after == 0:
            raise SAPDError(
                'model.freeze_after: is 0, so the frozen teacher would never be trained, and load_from comes from a '
                'stock run. Set freeze_after to the number of iterations that SPF trains.'
            )
        if entry is None and settings.stage == 'two_stage':
            weights = {key[len(STUDENT) :]: value for key, value in student.items() if key.startswith(STUDENT)}
            runner.logger.info(start_from(_model(runner).spf, weights, 'generator'))
        spf = entry['spf'] if entry else _model(runner).spf.state_dict()
        student.update({PREFIX + key: value for key, value in spf.items()})
        if runner._resume:
            with _of_this_run(runner):
                check_fits(student, _model(runner))

    def _show(self, runner: Runner, iteration: int) -> None:
        training = _model(runner).in_training
        if training.latest is None or runner.rank != 0:
            return
        degraded, record = training.latest
        photos = [photo.numpy() for photo in record.photos(degraded)]
        picture = strip(photos, record.mask[0, 0].cpu().numpy())
        runner.visualizer.add_image('sapd_degraded_restored_refined_gt_mask', picture, iteration)


@contextmanager
def _of_this_run(runner: Runner) -> Iterator[None]:
    """Name a checkpoint that is not one of this kind of run. Raises SAPDError."""
    try:
        yield
    except (TypeError, RuntimeError, ValueError) as error:
        raise SAPDError(
            f'load_from: {runner._load_from} is not a checkpoint of this kind of run: {describe(error)}.'
        ) from error


def _model(runner: Runner) -> Any:
    """Return the SAPDModel, unwrapped."""
    model = runner.model.module if is_model_wrapper(runner.model) else runner.model
    if not hasattr(model, 'in_training'):
        raise SAPDError(f"model.type: SAPDHook found {type(model).__name__}, expected 'SAPDModel'.")
    return model


def _check_dataset(dataset: Any, model: Any) -> None:
    """Refuse a data set without masks or statistics; what a user's own class gives is known at the first batch.

    Raises:
        SAPDError: naming the key.
    """
    stock = type(dataset) is BasicImageDataset
    channels, expected = getattr(dataset, 'image_channels', None), image_channels(model.generator)
    if channels is not None and channels != expected:
        raise SAPDError(
            f'train_dataloader.dataset.pipeline: gives images of {channels} channels, but model.generator takes '
            f"{expected}: LoadImageFromFile's color_type, or MATLABGray, decide."
        )
    if stock and needs_stored_masks(model.settings.online):
        raise SAPDError(
            "train_dataloader.dataset.type: 'BasicImageDataset' loads no masks, expected 'PairedImageMaskDataset' and "
            "a 'mask_store'."
        )
    given = not stock and getattr(dataset, 'mask_context', True)
    if getattr(model.spf, 'needs_context', False) and not given:
        raise SAPDError(
            "train_dataloader.dataset.mask_context: missing, expected True: network_spf.context is 'image', which "
            'reads statistics of the whole photo.'
        )


def _fingerprints(runner: Runner) -> list[str]:
    """Return the fingerprints of the mask stores that training reads."""
    stores = (getattr(dataset, 'mask_store', None) for dataset in _datasets(runner.train_dataloader.dataset))
    return sorted({store.fingerprint for store in stores if store is not None})


def _datasets(dataset: Any) -> Iterator[Any]:
    """Yield the data sets below MMEngine's wrappers (RepeatDataset, ConcatDataset, ...)."""
    inner = [getattr(dataset, 'dataset', None), *(getattr(dataset, 'datasets', None) or [])]
    inner = [each for each in inner if each is not None]
    if not inner:
        yield dataset
    for each in inner:
        yield from _datasets(each)
