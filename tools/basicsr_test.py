"""Test with BasicSR's own test_pipeline, results below the working folder.

python tools/basicsr_test.py -opt configs/basicsr/....yml [--force_yml k:v=1 ...]
"""

import os

from sapd_plugin.compat import alias_functional_tensor

alias_functional_tensor()

from basicsr.test import test_pipeline  # noqa: E402

import sapd_plugin.basicsr  # noqa: E402, F401  (registers the plugin)

if __name__ == '__main__':
    test_pipeline(os.getcwd())
