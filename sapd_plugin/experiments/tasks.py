"""Tasks of a run: train, extract masks, convert a published checkpoint, test, and measure the inference cost."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Sequence
from math import isfinite, nan
from pathlib import Path
from statistics import fmean
from typing import ClassVar

import torch

from sapd_plugin.archs.weights import network_weights, read_checkpoint
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.cost import compare, steps_of
from sapd_plugin.evaluation.networks import build_network_from, load_student
from sapd_plugin.experiments.results import PROTOCOL, Results, load
from sapd_plugin.experiments.run import EvalSet, Run
from sapd_plugin.experiments.runner import Task, execute
from sapd_plugin.files import digest
from sapd_plugin.metrics import canonical_color
from sapd_plugin.priors.extraction.sources import open_photos
from sapd_plugin.priors.store import MaskStore
from sapd_plugin.progress import Bar

COST_SIZE = (256, 256)  # height and width of the image that inference is measured on, as in papers


class RunTask(Task):
    """A task of one run, in the run's folder; its title consists of the verb, the run's name and ``what``."""

    verb: ClassVar[str]

    def __init__(self, run: Run, what: str = '') -> None:
        super().__init__(f'{self.verb} {run.name}{what}', run.folder)
        self.of = run

    @property
    def results(self) -> Results:
        """The results of the run so far."""
        return load(self.of.cell, self.of.settings.root)


class TrainTask(RunTask):
    """Train with the framework's own tool, or resume if the table allows it; then store the means of the log."""

    verb = 'train'

    def done(self) -> bool:
        """Return whether training has finished with this config, and its results are stored."""
        return self._stored() and (not self.of.arm.has_priors or 'logged' in self.results.training)

    def kept(self) -> object:
        """Return whether training has finished, and the states that it can resume from."""
        return self._stored(), self.of.saved_states if self.of.table.resume else ()

    def _stored(self) -> bool:
        return self._trained() and self.results.training.get('finished') is True

    def _trained(self) -> bool:
        return self.of.checkpoint.is_file() and _holds(self.of.config, self.of.text)

    def command(self) -> Sequence[str]:
        """Return the command that starts or resumes training."""
        resume = self.of.table.resume and self.of.config.is_file() and self.of.resumable
        return self.of.train_command(resume)

    def work(self) -> None:
        """Train, and store how long it took, even if it fails or is interrupted.

        If the command has outlived the process that started it, only the results are left to be stored.
        """
        if not self._trained():
            write_once(self.of.config, self.of.text)
            begun = time.monotonic()
            try:
                log = self.folder / 'train.txt'
                execute(self.command(), self.folder, log, title=self.title, total=self.of.iterations)
            finally:
                self._keep(time.monotonic() - begun)
        elif not self._stored():
            self._keep(None)
        if self.of.arm.has_priors:
            self._keep_log()

    def _keep(self, seconds: float | None) -> None:
        """Store what training did; ``seconds`` is None if nobody has measured its time."""
        run, found = self.of, self.results
        before = found.training.get('seconds', 0.0) if run.table.resume else 0.0
        found.training = {
            'iterations': run.iterations,
            'as_published': run.iterations == run.published_iterations,
            'batch': run.batch,
            **({} if seconds is None else {'seconds': round(before + seconds, 1)}),
            'masks': _describe_masks(run.store) if run.store is not None else None,
            'finished': run.checkpoint.is_file(),
            'curve': {str(step): psnr for step, psnr in run.read_log(self.folder, run.cell.name).curve.items()},
        }
        found.save(self.folder)

    def _keep_log(self) -> None:
        """Store means over the second half of training, when z has had time to get ahead of y."""
        logged = sorted(self.of.read_log(self.folder, self.of.cell.name).losses.items())
        late = [values for _, values in logged[len(logged) // 2 :]]
        means = {key: fmean(values[key] for values in late) for key in (late[0] if late else ())}
        found = self.results
        found.training['logged'] = {'steps': len(late), **means}
        found.save(self.folder, measured=False)


class MaskTask(Task):
    """Extract masks from a run's training images, or resume the extraction; other seeds and arms share the store."""

    def __init__(self, run: Run) -> None:
        assert run.store is not None
        self.of, self.store = run, run.store
        group = f'{run.table.name}/' if run.table.group else ''
        super().__init__(f'masks {group}{self.store.name}', self.store.parent)
        self._finished = self.store.with_name(f'{self.store.name}.done')

    def done(self) -> bool:
        """Return whether this extraction has finished, with any Python interpreter."""
        return self._finished.is_file() and _text(self._finished).endswith(shlex.join(self._arguments))

    def kept(self) -> object:
        """Return whether the extraction has finished, and the number of its masks."""
        return self.done(), self._count_masks()

    def command(self) -> Sequence[str]:
        """Return the command that extracts the masks."""
        return [sys.executable, '-m', 'sapd_plugin', 'extract-masks', *self._arguments]

    @property
    def _arguments(self) -> list[str]:
        run, provider = self.of, self.of.mask_provider
        assert provider is not None
        arguments = ['--images', str(run.mask_images), '--output', str(self.store), *run.segmenter]
        if run.mask_source == 'restored':
            arguments += ['--restored-by', str(provider.config), str(provider.student)]
        else:
            arguments += ['--source', run.mask_source]
        return arguments

    def work(self) -> None:
        """Extract the masks, and record the finished command."""
        total = len(open_photos(self.of.mask_images).named)
        log = self.store.with_name(f'{self.store.name}.txt')
        execute(
            self.command(), self.folder, log, title=self.title, total=total, unit='image', progress=self._count_masks
        )
        self._finished.write_text(shlex.join(self.command()), encoding='utf-8')

    def _count_masks(self) -> int:
        """Count the masks of all shards, whose meta_info.txt has one line per mask."""
        return sum(path.read_bytes().count(b'\n') for path in self.store.glob('*/meta_info.txt'))


class PublishedTask(RunTask):
    """Convert the authors' checkpoint to the framework's format."""

    verb = 'checkpoint'

    def done(self) -> bool:
        """Return whether the converted checkpoint exists."""
        return self.of.student.is_file()

    def work(self) -> None:
        """Convert the checkpoint, and store its digest."""
        source = self.of.published
        assert source is not None
        write_once(self.of.config, self.of.text)
        self.of.save_student(read_published(source), self.of.student)
        found = self.results
        found.training = {'checkpoint': source.name, 'sha256': digest(source)}
        found.save(self.folder)


class TestTask(RunTask):
    """Test a run's student on one set with the framework's own tool."""

    __test__ = False  # or pytest collects the class, because of its name
    verb = 'test'

    def __init__(self, run: Run, test_set: EvalSet) -> None:
        super().__init__(run, f' on {test_set.name}')
        self.test_set = test_set
        self._config = self.folder / f'test_{test_set.name}{run.suffix}'

    def done(self) -> bool:
        """Return whether the set was measured with the table's protocol."""
        return self.results.holds(self.test_set.name, self.of.table)

    def command(self) -> Sequence[str]:
        """Return the command that runs the test."""
        return self.of.test_command(self._config, self.test_set)

    def work(self) -> None:
        """Test, and store the metrics with their protocol."""
        name, table = self.test_set.name, self.of.table
        self._config.write_text(self.of.dump(self.of.test_options(self.test_set)), encoding='utf-8')
        images = len(list((self.test_set.folder / 'target').iterdir()))
        log = self.folder / f'test_{name}.txt'
        output = execute(self.command(), self.folder, log, title=self.title, total=images, unit='image')
        metrics = self.of.read_metrics(self.test_set, output)
        for metric in ('psnr', 'ssim'):
            value = metrics.get(metric, nan)
            if not isfinite(value):
                printed = f'{metric} {value}' if metric in metrics else f'no {metric}'
                tail = f'Its output:\n{output[-2000:]}'
                raise SAPDError(f'{self._config}: the test printed {printed}, expected a finite number. {tail}')
        found = self.results
        found.tests[name] = {
            **metrics,
            **{key: getattr(table, key) for key in PROTOCOL},
            'images': images,
        }
        found.save(self.folder)


class CostTask(RunTask):
    """Measure the inference cost, side by side with the student of ``stock`` (which may be ``run``) if it exists."""

    verb = 'cost'

    def __init__(self, run: Run, stock: Run) -> None:
        super().__init__(run)
        self.stock = stock
        self._channels = 1 if canonical_color(run.table.protocol) == 'gray' else 3

    def done(self) -> bool:
        """Return whether the cost was measured."""
        return bool(self.results.cost)

    @property
    def _students(self) -> list[Path]:
        own, stock = self.of.student, self.stock.student
        return [stock, own] if stock != own and stock.is_file() else [own]

    def command(self) -> Sequence[str]:
        """Return a command that makes the same measurement."""
        options = ['--framework', self.of.cell.framework, '--size', *map(str, COST_SIZE)]
        files = [self.of.config, *self._students]
        channels = ['--channels', str(self._channels), '--json']
        return [sys.executable, '-m', 'sapd_plugin', 'inference-cost', *map(str, files), *options, *channels]

    def work(self) -> None:
        """Measure the cost in this process."""
        framework, config = self.of.cell.framework, self.of.config
        students = self._students
        with Bar(total=len(students) * (1 + steps_of()), desc=self.title, unit='step') as bar:
            networks = {}
            for path in students:
                bar.say(f'load {path.name}')
                networks[str(path)] = load_student(build_network_from(framework, config), path)
                bar.update()
            costs = list(compare(networks, (1, self._channels, *COST_SIZE), bar=bar).values())
        over_stock = costs[-1].milliseconds / costs[0].milliseconds if costs[1:] else None
        found = self.results
        found.cost = {**costs[-1].as_dict(), 'over_stock': over_stock}
        found.save(self.folder)


def read_published(path: Path) -> dict[str, torch.Tensor]:
    """Read the weights of a network from the file that its authors publish.

    Returns:
        The state dict, on the CPU.

    Raises:
        SAPDError: the file does not exist or holds no weights.
    """
    if not path.is_file():
        raise SAPDError(f'--checkpoints: no file {path}, expected the checkpoint that the authors publish.')
    saved = read_checkpoint(path)
    try:
        return network_weights(saved)
    except SAPDError as error:
        raise SAPDError(f'{path}: {error}') from error


def write_once(path: Path, text: str) -> None:
    """Write a file, unless it exists with this text.

    Raises:
        SAPDError: the file exists with a different text.
    """
    if path.is_file() and not _holds(path, text):
        raise SAPDError(
            f'--output: {path.parent} holds a run with different settings ({path.name} is not what this command would '
            'write). Name a different folder, or delete it.'
        )
    path.write_text(text, encoding='utf-8')


def _holds(path: Path, text: str) -> bool:
    return path.is_file() and _text(path) == text


def _text(path: Path) -> str:
    """Read a file that may be anything; what is not UTF-8 differs from any text of ours."""
    return path.read_text(encoding='utf-8', errors='replace')


def _describe_masks(store: Path) -> str:
    """Describe the segmenter and the source of a store's masks for reports."""
    settings = MaskStore(store).settings
    preset = f' {settings["preset"]}' if 'preset' in settings else ''
    return f'{settings["segmenter"]}{preset}, {settings.get("source", "unknown source")}'
