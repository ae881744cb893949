"""What may import what: the package by itself, and the contracts of pyproject.toml."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
needs_import_linter = pytest.mark.skipif(
    not importlib.util.find_spec('importlinter'), reason='import-linter is not installed'
)


def test_importing_the_package_imports_neither_torch_nor_a_framework():
    heavy = {'torch', 'torchvision', 'numpy', 'cv2', 'basicsr', 'mmagic', 'mmengine', 'mmcv'}
    code = f'import sys, sapd_plugin; print(sapd_plugin.__version__, *sorted({heavy} & set(sys.modules)))'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert len(done.stdout.split()) == 1, f'imported as well: {done.stdout}'


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    code = 'import sys; from importlinter.cli import lint_imports_command; sys.exit(lint_imports_command())'
    return subprocess.run(
        [sys.executable, '-c', code, '--no-cache'], capture_output=True, text=True, cwd=folder, env={'COLUMNS': '200'}
    )


@needs_import_linter
def test_import_contracts_are_kept():
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ' 0 broken' in done.stdout


@needs_import_linter
@pytest.mark.parametrize(
    ('module', 'forbidden'),
    [
        ('core', 'sapd_plugin.priors'),
        ('core', 'basicsr'),
        ('core', 'lmdb'),
        ('priors', 'sapd_plugin.core'),
        ('metrics', 'sapd_plugin.core'),
        ('metrics', 'basicsr'),
        ('priors', 'mmengine'),
        ('archs', 'sapd_plugin.core'),
        ('archs', 'basicsr'),
        ('basicsr', 'mmagic'),
        ('mmagic', 'basicsr'),
        ('mmagic', 'sapd_plugin.basicsr'),
        ('compat', 'torch'),
    ],
)
def test_a_forbidden_import_breaks_a_contract(tmp_path, module, forbidden):
    shutil.copytree(ROOT / 'sapd_plugin', tmp_path / 'sapd_plugin')
    shutil.copy(ROOT / 'pyproject.toml', tmp_path)
    (tmp_path / 'sapd_plugin' / module / 'intruder.py').write_text(f'import {forbidden}\n')
    done = lint_imports(tmp_path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f'sapd_plugin.{module} is not allowed to import {forbidden}:' in done.stdout
