"""Test with BasicSR's own test_pipeline, plugin loaded, results below the working folder.

python -m sapd_plugin.basicsr.test -opt OPTIONS.yml [--launcher pytorch]
    [--import MODULE] [--force_yml k:v=1 ...]

A mistake in the options is printed as ``error: ...``, the last line, and the exit status is 2; after Ctrl-C it is 130.
"""

from __future__ import annotations

import os
from typing import Any

import basicsr.test

from sapd_plugin.basicsr.launch import check_testing, launched
from sapd_plugin.mistakes import told_in_one_line
from sapd_plugin.progress import ProgressFile


def report_progress(progress: ProgressFile) -> None:
    """Let the models that BasicSR's test module builds write the number of images that they have restored."""
    build_model = basicsr.test.build_model

    def build_reporting_model(opt: dict[str, Any]) -> Any:
        model = build_model(opt)
        test, restored = model.test, 0

        def test_and_report() -> None:
            nonlocal restored
            test()
            restored += 1
            if opt['rank'] == 0:
                progress.write(restored)

        model.test = test_and_report
        return model

    basicsr.test.build_model = build_reporting_model


def main() -> None:
    """Run the test command with this process's command line."""
    progress = ProgressFile.from_environment()
    if progress is not None:
        report_progress(progress)
    with told_in_one_line(), launched(basicsr.test, check_testing):
        basicsr.test.test_pipeline(os.getcwd())


if __name__ == '__main__':
    main()
