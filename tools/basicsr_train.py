"""Train with BasicSR's own train_pipeline, plugin loaded, experiments below the working folder.

python tools/basicsr_train.py -opt configs/basicsr/....yml [--auto_resume] [--launcher pytorch] [--force_yml k:v=1 ...]
"""

import os

from sapd_plugin.compat import alias_functional_tensor

alias_functional_tensor()

from basicsr.train import train_pipeline  # noqa: E402

import sapd_plugin.basicsr  # noqa: E402, F401  (registers the plugin)

if __name__ == '__main__':
    train_pipeline(os.getcwd())
