"""Train with MMagic's own train tool, plugin loaded.

python -m sapd_plugin.mmagic.train CONFIG [--work-dir DIR] [--resume] [--amp]
    [--launcher pytorch] [--cfg-options k=v ...]
"""

from __future__ import annotations

from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

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


def main() -> None:
    """Run the train tool with this process's command line."""
    progress = ProgressFile.from_environment()
    if progress is not None:
        report_progress(progress)
    run_stock_tool('train')


if __name__ == '__main__':
    main()
