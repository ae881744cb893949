"""A training up to its first steps: its checks, and the cost of a step on this machine."""

from __future__ import annotations

import gc
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sapd_plugin.core import find_vgg
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.published_weights import verdict
from sapd_plugin.evaluation.step_cost import StepCost, Training, measure_step
from sapd_plugin.priors.segmenters import find_sam_checkpoint
from sapd_plugin.progress import Bar

Block = dict[str, Any]


class Trial(ABC):
    """One training of a framework that writes only to its own folder.

    The two subclasses are in ``trial_basicsr`` and ``trial_mmagic``.

    Args:
        sapd: whether the config trains with SAM priors.
        sgr: that block of the config, or None.
        online: that block of the config, or None.
        full_batch: images per step in the config.
        batch: images per step here; None means the config's on a GPU, and 1 on a CPU.

    Attributes:
        parameters: of student and SPF, after a run.
    """

    def __init__(self, sapd: bool, sgr: Block | None, online: Block | None, full_batch: int, batch: int | None) -> None:
        self.sapd, self.sgr, self.online = sapd, sgr, online
        self.device = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
        self.full_batch = full_batch
        self.batch = batch or (full_batch if self.device.type == 'cuda' else 1)
        self.parameters: dict[str, int] = {}

    @abstractmethod
    def check_wiring(self) -> str:
        """Build or check the config's components, and return the names of model and network.

        Raises:
            SAPDError: training would refuse the config.
        """

    @abstractmethod
    def folders(self) -> dict[str, Path]:
        """Return the local folders of the training and validation images, by config key."""

    @abstractmethod
    def load_data(self) -> LoadedData:
        """Build the training set, which checks the mask store, and load one batch."""

    @abstractmethod
    def build(self, stock: bool) -> Training:
        """Build the training, or that of the stock model; see `measure_step`."""

    def run(self, repeats: int, stock: bool = False, bar: Bar | None = None) -> StepCost:
        """Build the training, or that of the stock model, and run each kind of step, ``repeats`` times to time it."""
        try:
            return measure_step(lambda: self.build(stock), self.device, repeats, bar)
        finally:
            gc.collect()


class LoadedData(NamedTuple):
    """A training set.

    Attributes:
        images: their number.
        store: the masks, or None.
        note: how far the images were compared with their masks.
        warning: about the masks; may be empty, as ``note``.
    """

    images: int
    store: Any
    note: str
    warning: str


class Finding(NamedTuple):
    """One result of a check: 'ok', 'warning', 'error' or 'skipped', what was checked, and a sentence."""

    level: str
    subject: str
    text: str


def open_trial(config: Path, folder: Path, batch: int | None) -> Trial:
    """Open the training of a BasicSR YAML or an MMagic config.

    Raises:
        SAPDError: it cannot be read, or its framework is not installed.
    """
    if config.suffix not in ('.yml', '.yaml', '.py') or not config.is_file():
        raise SAPDError(f'found no config {config}, expected a BasicSR YAML or an MMagic config (.py).')
    try:
        if config.suffix == '.py':
            from sapd_plugin.evaluation.trial_mmagic import MMagicTrial

            return MMagicTrial(config, folder, batch)
        import sapd_plugin.basicsr  # noqa: F401  (BasicSR without it may not import)
        from sapd_plugin.evaluation.trial_basicsr import BasicSRTrial

        return BasicSRTrial(config, folder, batch)
    except ModuleNotFoundError as error:
        raise SAPDError(f'{config}: needs {error.name}, which is not installed here.') from error


def from_the_start(block: Block | None) -> dict[str, Any] | None:
    """Return a loss block without its schedule, so that the first steps cost as much as later ones."""
    return block and {key: value for key, value in block.items() if key not in ('start', 'ramp', 'stop', 'fall')}


def check_training(config: Path, repeats: int, batch: int | None = None, bar: Bar | None = None) -> Iterator[Finding]:
    """Check everything that training checks before its first step, run that step, and measure it.

    Args:
        config: BasicSR YAML or MMagic config.
        repeats: number of steps to time.
        batch: images per step, as for `Trial`.
        bar: shows the progress: 1 for opening the config, 5 checks, 2 trainings; its total grows by the timed steps.

    Raises:
        SAPDError: the config cannot be read.
    """
    bar = bar if bar is not None else Bar(total=8, disable=True)
    with tempfile.TemporaryDirectory(prefix='sapd_check_') as folder:
        trial = open_trial(config, Path(folder), batch)
        bar.update()
        if not trial.sapd:
            hint = f"'sapd add {config} --masks STORE' writes a config that does."
            yield Finding('error', 'wiring', f'a stock config, which trains without SAM priors. {hint}')
            return
        checks = {'wiring': _wiring, 'images': _images, 'masks': _masks, 'VGG-19 weights': _vgg, 'SAM weights': _sam}
        failed: set[str] = set()
        for subject, check in checks.items():
            bar.say(subject)
            if subject == 'masks' and 'images' in failed:
                yield Finding('skipped', subject, 'needs the images.')
                continue
            level, text = _attempt(check, trial)
            bar.update()
            if level == 'error':
                failed.add(subject)
            yield Finding(level, subject, text)
        if failed:
            yield Finding('skipped', 'step', 'needs all of the above.')
            return
        costs: list[StepCost] = []
        level, text = _attempt(lambda trial: _first_step(trial, repeats, costs, bar), trial)
        yield Finding(level, 'step', text)
        if costs:
            yield from _costs(trial, repeats, *costs)


def _attempt(check: Callable[[Trial], tuple[str, str]], trial: Trial) -> tuple[str, str]:
    try:
        return check(trial)
    except Exception as error:  # anything that stops training here is a finding
        kind = '' if isinstance(error, SAPDError) else f'{type(error).__name__}: '
        return 'error', f'{kind}{" ".join(str(error).split())[:1000]}'


def _wiring(trial: Trial) -> tuple[str, str]:
    return 'ok', trial.check_wiring()


def _images(trial: Trial) -> tuple[str, str]:
    folders = trial.folders()
    absent = [f'{key}: found no folder {path}' for key, path in folders.items() if not path.is_dir()]
    return ('error', f'{"; ".join(absent)}.') if absent else ('ok', f'{len(folders)} folders found.')


def _masks(trial: Trial) -> tuple[str, str]:
    images, store, note, warning = trial.load_data()
    if store is None:
        return 'ok', f'{images} training images; their masks are made in the training loop.'
    text = f'{images} training images, each with a mask of its size; fingerprint {store.fingerprint}; {note}'
    return ('warning', f'{text} {warning}') if warning else ('ok', text)


def _vgg(trial: Trial) -> tuple[str, str]:
    if not trial.sgr:
        return 'ok', 'not needed without SGR.'
    path = find_vgg(trial.sgr.get('weights'))
    if path is None:
        return 'error', "not found, and SGR needs them. 'sapd weights' shows where to get them and where to put them."
    return _published(path)


def _sam(trial: Trial) -> tuple[str, str]:
    if not trial.online:
        return 'ok', 'not needed: training reads a mask store.'
    segmenter = str(trial.online.get('segmenter'))
    if 'sam' not in segmenter:
        return 'ok', f'not needed by {segmenter}.'
    path = find_sam_checkpoint(trial.online.get('checkpoint'))
    if path is None:
        return 'error', f"not found, and online masks of {segmenter} need them. 'sapd weights' shows where to get them."
    return _published(path)


def _published(path: Path) -> tuple[str, str]:
    genuine, text = verdict(path)
    return 'ok' if genuine else 'warning', f'{path}; {text}.'


def _first_step(trial: Trial, repeats: int, costs: list[StepCost], bar: Bar) -> tuple[str, str]:
    measured = []
    for kind in ('SAPD', 'stock'):
        bar.say(f'{kind} step')
        measured.append(trial.run(repeats, kind == 'stock', bar))
    costs.extend(measured)
    text = f'forward, backward and update of student and SPF on {trial.device}, batch {trial.batch}'
    return 'ok', f'{text} of {trial.full_batch}.' if trial.batch != trial.full_batch else f'{text}.'


def _costs(trial: Trial, repeats: int, sapd: StepCost, stock: StepCost) -> Iterator[Finding]:
    counts = ', '.join(f'{name} {count:,}' for name, count in trial.parameters.items())
    yield Finding('ok', 'parameters', f'{counts}; SPF is used only in training.')
    way = 'measured' if trial.device.type == 'cuda' else 'estimated'
    memory = f'SAPD {sapd.memory / 2**20:,.0f} MiB, stock {stock.memory / 2**20:,.0f} MiB'
    yield Finding('ok', 'memory', f'{memory} at batch {trial.batch} ({way}).')
    if sapd.milliseconds is not None and stock.milliseconds is not None:
        whole = stock.milliseconds
        times = (
            f'SAPD {sapd.milliseconds:.0f} ms, stock {whole:.0f} ms per step: {sapd.milliseconds / whole:.2f}x stock'
        )
        kinds = ', '.join(f'{100 * share:.3g} % of the steps {time / whole:.2f}x' for share, time in sapd.kinds)
        mean = f' on average ({kinds})' if len(sapd.kinds) > 1 else ''
        yield Finding('ok', 'price', f'{times}{mean}; medians of {repeats}, batch {trial.batch}.')
