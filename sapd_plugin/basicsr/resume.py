"""The state of a SAPD run besides BasicSR's training state: one file per process, written before BasicSR's own.

It holds the random states, the position in the batches, the masks' fingerprint and the options, so that a resumed run
equals an uninterrupted one, and what it changes is named.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from basicsr.utils import get_root_logger
from torch import Tensor
from torch.utils.data import DataLoader

from sapd_plugin.basicsr.batches import Batches, RandomState, expect
from sapd_plugin.core import archives, changes
from sapd_plugin.errors import SAPDError, describe
from sapd_plugin.home import expanded
from sapd_plugin.priors.store import manifest

# What may differ after an interruption, or is not of the training: where it runs, how long, and what is watched.
UNNAMED = ('name', 'path', 'logger', 'val', 'auto_resume', 'rank', 'dist', 'dist_params', 'is_train', 'root_path')

_KINDS = {'scaler': dict, 'batches': dict, 'gradients': list}


class RunState:
    """What a SAPD run saves and resumes besides BasicSR's training state.

    Args:
        opt: BasicSR's options before anything is built from them, since the base model removes keys.

    Raises:
        SAPDError: the run to resume started with masks that have a different fingerprint.
    """

    def __init__(self, opt: dict[str, Any]) -> None:
        self.opt, self.batches = opt, Batches()
        self.options = _snapshot(opt)
        store = opt['datasets']['train'].get('mask_store')
        # Now, not at each save: the store can be moved while a run has it open.
        self.fingerprint = manifest.fingerprint(manifest.read_settings(expanded(store))).hex() if store else None
        self._saved: dict[str, Any] = {}
        expect(self.batches)
        self._check_resumed()

    def save(self, iteration: int, scaler: dict[str, Any], gradients: Sequence[Tensor | None] = ()) -> None:
        """Save the state of this process, before the main process saves BasicSR's; on a full disk, warn.

        Args:
            iteration: the iteration that has ended.
            scaler: state of SPF's loss scaling.
            gradients: of all parameters, if the iteration is one of several that accumulate those of one step.
        """
        self._saved = {
            **_random_states(),
            'mask_fingerprint': self.fingerprint,
            'scaler': scaler,
            'gradients': list(gradients),
            'iteration': iteration,
            'validations': 0,
            'batches': self.batches.state(),
            'options': self.options,
            'manual_seed': self.opt.get('manual_seed'),
        }
        self._write()

    def after_validation(self, iteration: int) -> None:
        """Save the random states again after a validation at the iteration of a save, since its loader draws a seed."""
        if self._saved.get('iteration') == iteration:
            self._saved.update(_random_states(), validations=self._saved['validations'] + 1)
            self._write()

    def load(self, iteration: int) -> tuple[dict[str, Any], list[Tensor | None]]:
        """Resume the random states and the position in the batches.

        Returns:
            The state of SPF's loss scaling, and the gradients, as :meth:`save` takes them.

        Raises:
            SAPDError: the masks' fingerprint differs from that at the start of the run, or the state is not a run's.
        """
        path = _path(self.opt, iteration, Path(self.opt['path']['resume_state']).parent)
        if not path.is_file():
            get_root_logger().warning(
                f'{path} does not exist: training resumes with new random states, at the start of an epoch.'
            )
            return {}, []
        state = read(path)
        self._check_masks(state)
        with _named(path):
            self._restore(state, iteration)
        return state.get('scaler', {}), state.get('gradients', [])

    def _restore(self, state: dict[str, Any], iteration: int) -> None:
        if torch.cuda.is_available() and len(state['cuda']) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state['cuda'])
        RandomState.load(state).restore()
        if self.opt.get('rank', 0) == 0:
            for _ in range(self._validations(iteration) - state.get('validations', 0)):
                iter(DataLoader([0]))  # type: ignore[arg-type]  # draws what the loader of a validation that did not end would have drawn
        self.batches.resume(state.get('batches', {}), RandomState())

    def _check_resumed(self) -> None:
        """Name what a resumed run changes, before anything is built.

        Raises:
            SAPDError: the masks' fingerprint differs from that at the start of the run.
        """
        resumed = self.opt['path'].get('resume_state')
        path = Path(resumed).with_suffix(f'.sapd.rank{self.opt.get("rank", 0)}') if resumed else None
        if path is None or not path.is_file():
            return
        state = read(path)
        self._check_masks(state)
        with _named(path):
            changed = changes.changes(state.get('options', self.options), self.options)
        if changed:
            get_root_logger().warning(changes.warning_of(changed))

    def _check_masks(self, state: dict[str, Any]) -> None:
        if state['mask_fingerprint'] != self.fingerprint:
            raise SAPDError(
                f'datasets.train.mask_store: its fingerprint is {self.fingerprint}, the run to resume started with '
                f'{state["mask_fingerprint"]}.'
            )

    def _validations(self, iteration: int) -> int:
        """Return the number of validations that follow an iteration."""
        every = (self.opt.get('val') or {}).get('val_freq')
        if not every or iteration % every:
            return 0
        return sum(phase.split('_')[0] == 'val' for phase in self.opt['datasets'])

    def _write(self) -> None:
        folder = Path(self.opt['path']['training_states'])
        path = _path(self.opt, self._saved['iteration'], folder)
        try:
            # The main process has made it on its own node; other nodes may not share that disk.
            folder.mkdir(parents=True, exist_ok=True)
            archives.atomic(torch.save)(self._saved, path)
        except (OSError, RuntimeError) as error:  # torch's own error for a full disk is the second
            get_root_logger().warning(f'{path} cannot be saved ({error}): training continues without it.')


@contextmanager
def fitting(state: Mapping[str, Any], optimizers: Sequence[Any], schedulers: Sequence[Any]) -> Iterator[None]:
    """Name a training state of BasicSR that is not one of these optimizers and schedulers, which the block resumes.

    Raises:
        SAPDError: naming what differs.
    """
    for kind, ours in (('optimizers', optimizers), ('schedulers', schedulers)):
        if len(state[kind]) != len(ours):
            hint = (
                ' A stock run cannot be resumed as a SAPD run: start one with its student in path.pretrain_network_g '
                '(train.sapd_opt.stage: two_stage).'
            )
            raise SAPDError(f'path.resume_state: holds {len(state[kind])} {kind}, expected {len(ours)}.{hint}')
    try:
        yield
    except SAPDError:
        raise
    except Exception as error:  # torch raises many types
        raise SAPDError(
            f'path.resume_state: does not fit the optimizers and schedulers of these options ({describe(error)}). '
            'Expected a state of this very training.'
        ) from error


def read(path: Path) -> dict[str, Any]:
    """Read what :class:`RunState` saved.

    Raises:
        SAPDError: the file is damaged, or is not one of them.
    """
    try:
        state: Any = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # torch raises many types for a damaged file
        raise _damaged(path, str(error)) from error
    if not isinstance(state, dict) or 'mask_fingerprint' not in state:
        raise _damaged(path, 'found other content')
    for key, kind in _KINDS.items():
        if not isinstance(state.get(key, kind()), kind):
            raise _damaged(path, f'found {type(state[key]).__name__} as {key}')
    return state


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Name a state whose content is of other types than a run saves. Raises SAPDError."""
    try:
        yield
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise _damaged(path, describe(error)) from error


def _damaged(path: Path, problem: str) -> SAPDError:
    return SAPDError(f'path.resume_state: {path} is damaged ({problem}), expected a state that a run saved.')


def saved_seed(state: Path, rank: int) -> int | None:
    """Return the seed of the run that saved a training state, or None if it is not a SAPD run or an older one."""
    path = state.with_suffix(f'.sapd.rank{rank}')
    return read(path).get('manual_seed') if path.is_file() else None


def _path(opt: Mapping[str, Any], iteration: int, folder: Path) -> Path:
    # BasicSR searches for files that end in "state", so these must not.
    return folder / f'{iteration}.sapd.rank{opt.get("rank", 0)}'


def _random_states() -> dict[str, Any]:
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    return {**RandomState().save(), 'cuda': cuda}


def _snapshot(opt: Mapping[str, Any]) -> str:
    """Return the options that decide what is trained."""
    options = {key: value for key, value in opt.items() if key not in UNNAMED}
    options['datasets'] = {'train': opt['datasets']['train']}
    options['train'] = {key: value for key, value in opt['train'].items() if key != 'total_iter'}
    return changes.snapshot(options)
