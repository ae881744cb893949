"""Train with BasicSR's own train_pipeline, plugin loaded, experiments below the working folder.

python -m sapd_plugin.basicsr.train -opt OPTIONS.yml [--auto_resume] [--launcher pytorch] [--force_yml k:v=1 ...]
"""

from __future__ import annotations

import os

from basicsr.train import train_pipeline

from sapd_plugin.basicsr.patches import allow_cpu_resume


def main() -> None:
    """Run the train command with this process's command line."""
    allow_cpu_resume()  # now that the module is loaded whose function it replaces
    train_pipeline(os.getcwd())


if __name__ == '__main__':
    main()
