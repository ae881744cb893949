"""Test with BasicSR's own test_pipeline, plugin loaded, results below the working folder.

python -m sapd_plugin.basicsr.test -opt OPTIONS.yml [--launcher pytorch] [--force_yml k:v=1 ...]
"""

from __future__ import annotations

import os

from basicsr.test import test_pipeline


def main() -> None:
    """Run the test command with this process's command line."""
    test_pipeline(os.getcwd())


if __name__ == '__main__':
    main()
