"""Train with MMagic's own train tool, plugin loaded.

python -m sapd_plugin.mmagic.train CONFIG [--work-dir DIR] [--resume] [--amp]
    [--launcher pytorch] [--cfg-options k=v ...]

A mistake in the config is printed as ``error: ...``, the last line, and the exit status is 2; after Ctrl-C it is 130.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from unittest import mock

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from sapd_plugin.errors import SAPDError, describe
from sapd_plugin.mistakes import told_in_one_line
from sapd_plugin.mmagic.delta import is_sapd
from sapd_plugin.mmagic.run_checks import run_checks
from sapd_plugin.mmagic.run_errors import named_parts
from sapd_plugin.mmagic.tools import run_stock_tool
from sapd_plugin.progress import ProgressFile


class ProgressHook(Hook):
    """Write the number of finished iterations to a file."""

    def __init__(self, progress: ProgressFile) -> None:
        self.progress = progress

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Write the number of finished iterations."""
        if runner.rank == 0:
            self.progress.write(runner.iter + 1)


def report_progress(progress: ProgressFile) -> None:
    """Let every runner that trains in this process write the number of finished iterations."""
    train = Runner.train

    def train_and_report(runner: Runner) -> Any:
        runner.register_hook(ProgressHook(progress))
        return train(runner)

    Runner.train = train_and_report


@contextmanager
def checked_first() -> Iterator[None]:
    """Check the config of a run with SAM priors, or of no model at all, before its runner is built.

    Raises:
        SAPDError: as :func:`sapd_plugin.mmagic.run_checks.run_checks`.
    """
    build = Runner.from_cfg

    def check_and_build(config: Config) -> Runner:
        if is_sapd(config) or not isinstance(config.get('model'), Mapping):
            run_checks(config)
        return build(config)

    with mock.patch.object(Runner, 'from_cfg', check_and_build):
        yield


@contextmanager
def config_read() -> Iterator[None]:
    """Name a config that cannot be read, or an option that does not fit it. Raises SAPDError."""
    reads = {Config.fromfile.__code__: 'CONFIG', Config.merge_from_dict.__code__: '--cfg-options'}
    try:
        yield
    except Exception as error:  # a config is code
        traceback = error.__traceback__
        while traceback is not None:
            if traceback.tb_frame.f_code in reads:
                raise SAPDError(f'{reads[traceback.tb_frame.f_code]} cannot be read ({describe(error)}).') from error
            traceback = traceback.tb_next
        raise


def main() -> None:
    """Run the train tool with this process's command line."""
    progress = ProgressFile.from_environment()
    if progress is not None:
        report_progress(progress)
    with told_in_one_line('--resume'), named_parts(), config_read(), checked_first():
        run_stock_tool('train')


if __name__ == '__main__':
    main()
