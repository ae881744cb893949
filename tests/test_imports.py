"""What importing the package costs. The import contracts are checked by lint-imports itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_importing_the_package_imports_neither_torch_nor_a_framework():
    heavy = {'torch', 'torchvision', 'numpy', 'cv2', 'basicsr', 'mmagic', 'mmengine', 'mmcv'}
    code = f'import sys, sapd_plugin; print(sapd_plugin.__version__, *sorted({heavy} & set(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert len(done.stdout.split()) == 1, f'imported as well: {done.stdout}'
