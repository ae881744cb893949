"""Test with MMagic's own test tool, plugin loaded.

python -m sapd_plugin.mmagic.test CONFIG CHECKPOINT [--work-dir DIR] [--out FILE]
    [--launcher pytorch] [--cfg-options k=v ...]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mmengine.hooks import Hook
from mmengine.runner import Runner

from sapd_plugin.mmagic.tools import run_stock_tool
from sapd_plugin.progress import ProgressFile


class ProgressHook(Hook):
    """Write the number of restored images to a file."""

    def __init__(self, progress: ProgressFile) -> None:
        self.progress, self._restored = progress, 0

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence[Any] | None = None
    ) -> None:
        """Count the images of the batch."""
        self._restored += 1 if outputs is None else len(outputs)
        if runner.rank == 0:
            self.progress.write(self._restored)


def report_progress(progress: ProgressFile) -> None:
    """Let every runner that tests in this process write the number of restored images."""
    test = Runner.test

    def test_and_report(runner: Runner) -> Any:
        runner.register_hook(ProgressHook(progress))
        return test(runner)

    Runner.test = test_and_report


def main() -> None:
    """Run the test tool with this process's command line."""
    progress = ProgressFile.from_environment()
    if progress is not None:
        report_progress(progress)
    run_stock_tool('test')


if __name__ == '__main__':
    main()
