"""Train with BasicSR's own train_pipeline, plugin loaded, experiments below the working folder.

python -m sapd_plugin.basicsr.train -opt OPTIONS.yml [--auto_resume] [--launcher pytorch]
    [--import MODULE] [--force_yml k:v=1 ...]

A mistake in the options is printed as ``error: ...``, the last line, and the exit status is 2; after Ctrl-C it is 130.
"""

from __future__ import annotations

import os
from typing import Any

import basicsr.train

from sapd_plugin.basicsr.launch import launched
from sapd_plugin.basicsr.patches import check_options_sooner, resume_whole_states
from sapd_plugin.mistakes import told_in_one_line
from sapd_plugin.progress import ProgressFile


def report_progress(progress: ProgressFile) -> None:
    """Let the models that BasicSR's train module builds write the number of finished iterations."""
    build_model = basicsr.train.build_model

    def build_reporting_model(opt: dict[str, Any]) -> Any:
        model = build_model(opt)
        update_learning_rate = model.update_learning_rate  # BasicSR calls it at the start of each iteration

        def update_and_report(current_iter: int, *args: Any, **kwargs: Any) -> None:
            if opt['rank'] == 0:
                progress.write(current_iter - 1)
            update_learning_rate(current_iter, *args, **kwargs)

        model.update_learning_rate = update_and_report
        return model

    basicsr.train.build_model = build_reporting_model


def main() -> None:
    """Run the train command with this process's command line."""
    resume_whole_states()  # again, because the patched module is loaded now
    check_options_sooner()
    progress = ProgressFile.from_environment()
    if progress is not None:
        report_progress(progress)
    with told_in_one_line('--auto_resume'), launched(basicsr.train):
        basicsr.train.train_pipeline(os.getcwd())


if __name__ == '__main__':
    main()
