"""The wheel and the sdist, and what somebody can do who has nothing but the wheel and its requirements."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import basicsr
import pytest
import yaml

from tests.adapters_basicsr.recipes import stock_options
from tests.photos import ROOT

pytestmark = pytest.mark.slow


def build(kind: str, source: Path, target: Path) -> Path:
    """Build a distribution of a source tree with the installed setuptools."""
    target.mkdir(parents=True, exist_ok=True)
    code = f'from setuptools import build_meta; print(build_meta.build_{kind}({str(target)!r}))'
    done = subprocess.run([sys.executable, '-c', code], cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return target / done.stdout.split()[-1]


def contents(wheel: Path) -> dict[str, str]:
    """Digest of each file in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return {name: hashlib.sha256(archive.read(name)).hexdigest() for name in archive.namelist()}


@pytest.fixture(scope='module')
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean copy of what is under version control, or of the whole tree where this is not a clone."""
    folder = tmp_path_factory.mktemp('source') / 'sapd_plugin'
    listed = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns('.*', 'runs', 'build', '__pycache__'))
        return folder
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope='module')
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build('wheel', source, tmp_path_factory.mktemp('wheel'))


@pytest.fixture(scope='module')
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A new virtual environment with the wheel; its requirements are those of the tests' own environment."""
    folder = tmp_path_factory.mktemp('environment')
    venv.create(folder, with_pip=False, symlinks=True)
    site = next(folder.glob('lib/*/site-packages'))
    install = [sys.executable, '-m', 'pip', '--python', str(folder / 'bin/python'), 'install', '-qq', '--no-deps']
    subprocess.run([*install, '--no-index', str(wheel)], check=True)
    # A copy, since BasicSR's own train command writes its experiments beside itself.
    shutil.copytree(Path(basicsr.__file__).parent, site / 'basicsr', ignore=shutil.ignore_patterns('__pycache__'))
    (site / 'requirements.pth').write_text(sysconfig.get_path('purelib') + '\n')
    return folder


def run(environment: Path, cwd: Path, *command: str) -> str:
    """Run a program of the environment outside of the clone."""
    variables = {key: value for key, value in os.environ.items() if key != 'PYTHONPATH'} | {'OMP_NUM_THREADS': '1'}
    full = [str(environment / 'bin' / command[0]), *command[1:]]
    done = subprocess.run(full, cwd=cwd, env=variables, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f'{command}\n{done.stdout[-3000:]}{done.stderr[-3000:]}'
    return done.stdout + done.stderr


def test_the_sdist_builds_the_same_wheel(source, wheel, tmp_path):
    archive = build('sdist', source, tmp_path / 'sdist')
    shutil.unpack_archive(archive, tmp_path / 'unpacked')
    again = build('wheel', next((tmp_path / 'unpacked').iterdir()), tmp_path / 'wheel')
    assert contents(again) == contents(wheel)


def test_the_wheel_holds_the_licence_the_configs_and_the_manifests(wheel):
    names = contents(wheel)
    for folder, shipped in (('configs', 'sapd_plugin/.mim/configs'), ('sapd_plugin/datasets', 'sapd_plugin/datasets')):
        for path in (ROOT / folder).rglob('*.yml'):
            assert f'{shipped}/{path.relative_to(ROOT / folder)}' in names
    assert any(name.endswith('licenses/LICENSE') for name in names)
    assert not [name for name in names if name.split('/')[0] in ('tests', 'studies', 'benchmarks', 'tools')]


def test_a_user_of_the_wheel_masks_adds_checks_and_trains(environment, pairs, tmp_path):
    assert 'extract-masks' in run(environment, tmp_path, 'sapd', '--help')
    masks = ['--images', str(pairs / 'clean'), '--output', 'masks', '--segmenter', 'felzenszwalb']
    run(environment, tmp_path, 'sapd', 'extract-masks', *masks)
    (tmp_path / 'stock.yml').write_text(yaml.safe_dump(stock_options(pairs, **{'train:total_iter': 2})))
    run(environment, tmp_path, 'sapd', 'add', 'stock.yml', '--masks', str(tmp_path / 'masks'), '-o', 'sapd.yml')
    options = tmp_path / 'sapd.yml'
    # SGR needs VGG-19's weights, which nobody ships.
    text = options.read_text()
    assert 'sgr_opt' in text
    loader = yaml.UnsafeLoader
    parsed = yaml.load(text, Loader=loader)
    del parsed['train']['sgr_opt']
    options.write_text(yaml.safe_dump(parsed).replace('SAPDModel', '!!python/object/apply:sapd_plugin.use [SAPDModel]'))
    assert 'error' not in run(environment, tmp_path, 'sapd', 'check', 'sapd.yml').lower()
    run(environment, tmp_path, 'sapd', 'compat', 'enable')
    run(environment, tmp_path, 'python', '-m', 'basicsr.train', '-opt', str(options))
    written = [path.name for path in environment.rglob('experiments/*/models/*.pth')]
    assert {'net_g_latest.pth', 'net_spf_latest.pth'} <= set(written)


def test_the_tables_are_found_in_the_wheel(environment, tmp_path):
    listed = run(environment, tmp_path, 'sapd', 'reproduce', 'list')
    assert 'rain100l' in listed
