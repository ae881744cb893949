"""The functional_tensor alias: in this process, and switched on for a whole environment. All in throw-away ones."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
OLD = 'torchvision.transforms.functional_tensor'
BOTH_NAMES = f'import {OLD} as old, torchvision.transforms._functional_tensor as new; print(old is new)'


def run(python: Path | str, *arguments: str, path: list[Path] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join(map(str, [ROOT] if path is None else path))}
    return subprocess.run([str(python), *arguments], capture_output=True, text=True, env=environment, cwd='/')


def make_torchvision(folder: Path, **modules: str) -> Path:
    """A stand-in for torchvision with the given files in ``transforms``: old ones cannot be installed here."""
    transforms = folder / 'torchvision' / 'transforms'
    transforms.mkdir(parents=True)
    for file in (transforms.parent / '__init__.py', transforms / '__init__.py'):
        file.touch()
    for name, text in modules.items():
        (transforms / f'{name}.py').write_text(text)
    return folder


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """The Python of an empty virtual environment that sees this one's packages, but not its .pth files."""
    venv.create(tmp_path / 'scratch', with_pip=False)
    python = tmp_path / 'scratch' / 'bin' / 'python'
    site = run(python, '-c', 'import sysconfig; print(sysconfig.get_path("purelib"))').stdout.strip()
    Path(site, 'packages.pth').write_text(sysconfig.get_path('purelib') + '\n')
    return python


def pth_files(python: Path) -> list[str]:
    return sorted(file.name for file in python.parents[1].glob('lib/*/site-packages/*.pth'))


def test_one_module_under_two_names(tmp_path):
    path = [ROOT, make_torchvision(tmp_path, _functional_tensor='HERE = 1')]
    plain = run(sys.executable, '-S', '-c', BOTH_NAMES, path=path)
    assert f"No module named '{OLD}'" in plain.stderr
    alias = 'from sapd_plugin.compat import alias_functional_tensor as alias; print(alias(), alias());'
    aliased = run(sys.executable, '-S', '-c', alias + BOTH_NAMES, path=path)
    assert aliased.stdout.split() == ['True', 'False', 'True'], aliased.stderr
    named = alias + BOTH_NAMES + '; print(new.__name__, new.__spec__.name)'
    name = run(sys.executable, '-S', '-c', named, path=path)
    assert OLD not in name.stdout  # the new name's module stays what it was
    assert '._functional_tensor' in name.stdout


ALIASED_OLD = (
    f'from sapd_plugin.compat import alias_functional_tensor as alias; alias(); import {OLD} as old; print(old)'
)


def test_torchvision_with_the_module_keeps_its_own(tmp_path):
    path = [ROOT, make_torchvision(tmp_path, functional_tensor='', _functional_tensor='')]
    done = run(sys.executable, '-S', '-c', ALIASED_OLD, path=path)
    assert str(Path('transforms', 'functional_tensor.py')) in done.stdout, done.stderr


def test_torchvision_without_either_gets_the_usual_error(tmp_path):
    done = run(sys.executable, '-S', '-c', ALIASED_OLD, path=[ROOT, make_torchvision(tmp_path)])
    assert f"No module named '{OLD}'" in done.stderr


def test_alias_at_start_imports_next_to_nothing():
    code = 'import sys; before = set(sys.modules); import sapd_plugin.compat; print(*(set(sys.modules) - before))'
    done = run(sys.executable, '-S', '-c', code)
    loaded = set(done.stdout.split())
    assert 'sapd_plugin.compat' in loaded, done.stderr
    assert not {'torch', 'torchvision', 'basicsr', 'importlib.util', 'typing', 'pathlib', 'argparse'} & loaded
    assert len(loaded) < 12, loaded


def test_enable_status_disable(scratch):
    before = pth_files(scratch)
    status = ['-m', 'sapd_plugin.compat', 'status']
    assert 'Not enabled' in run(scratch, *status).stdout

    enabled = run(scratch, '-m', 'sapd_plugin.compat', 'enable')
    assert enabled.returncode == 0, enabled.stderr
    (file,) = set(pth_files(scratch)) - set(before)
    assert file == 'sapd_plugin_compat.pth'
    assert f'{os.sep}{file}' in enabled.stdout
    assert 'sapd compat disable' in enabled.stdout

    again = run(scratch, *status)
    assert 'Enabled by' in again.stdout
    assert file in again.stdout
    assert again.stderr == ''  # the start-up step must not upset `python -m` of its own package

    disabled = run(scratch, '-m', 'sapd_plugin.compat', 'disable')
    assert f'{os.sep}{file}' in disabled.stdout
    assert pth_files(scratch) == before
    assert 'Not enabled' in run(scratch, '-m', 'sapd_plugin.compat', 'disable').stdout


def test_start_up_survives_the_package_being_gone(scratch):
    run(scratch, '-m', 'sapd_plugin.compat', 'enable')
    done = run(scratch, '-c', 'import sys; print("sapd_plugin" in sys.modules)', path=[])
    assert (done.stdout.strip(), done.stderr) == ('False', '')
    assert run(scratch, '-c', 'import sys; print("sapd_plugin.compat" in sys.modules)').stdout.strip() == 'True'


def test_unknown_action_and_unwritable_environment(scratch):
    unknown = run(scratch, '-m', 'sapd_plugin.compat', 'enabel')
    assert unknown.returncode == 2
    assert 'enable' in unknown.stderr
    site = next(scratch.parents[1].glob('lib/*/site-packages'))
    (site / 'sapd_plugin_compat.pth').mkdir()  # cannot be written to, not even by root
    refused = run(scratch, '-m', 'sapd_plugin.compat', 'enable')
    assert refused.returncode == 2
    assert 'error: cannot enable' in refused.stderr
    assert 'Traceback' not in refused.stderr
