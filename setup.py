"""Packaging of sapd_plugin.

The frameworks are extras: a BasicSR user needs no mmcv, an MMagic user no BasicSR. Exact versions that were
installed and run together are in requirements/*.lock; the ranges here are the ones the code supports.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent


class BuildWithConfigs(build_py):
    """Ship ``configs/`` in the wheel as ``sapd_plugin/.mim/configs``, as MMagic ships its own."""

    def run(self) -> None:  # noqa: D102
        super().run()
        if not self.editable_mode:
            target = Path(self.build_lib, 'sapd_plugin', '.mim', 'configs')
            shutil.rmtree(target, ignore_errors=True)
            shutil.copytree(ROOT / 'configs', target, ignore=shutil.ignore_patterns('__pycache__'))


setup(
    name='sapd_plugin',
    version=re.search(r"__version__ = '(.+)'", (ROOT / 'sapd_plugin/__init__.py').read_text(encoding='utf-8'))[1],
    description='SAM priors for training image restoration models in BasicSR and MMagic; inference stays stock',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    author='The sapd_plugin authors',
    license='Apache-2.0',
    license_files=['LICENSE', 'NOTICE'],
    keywords='image restoration, segment anything, self-distillation, BasicSR, MMagic',
    classifiers=[
        'Development Status :: 4 - Beta',
        'Intended Audience :: Science/Research',
        'Programming Language :: Python :: 3.11',
        'Programming Language :: Python :: 3.12',
        'Topic :: Scientific/Engineering :: Image Processing',
        'Typing :: Typed',
    ],
    python_requires='>=3.11',
    packages=find_packages(include=['sapd_plugin', 'sapd_plugin.*']),
    package_data={'sapd_plugin': ['py.typed', 'datasets/manifests/*.yml']},
    cmdclass={'build_py': BuildWithConfigs},
    entry_points={'console_scripts': ['sapd = sapd_plugin.cli.main:main']},
    install_requires=[
        'torch>=2.0',
        'torchvision',
        # Both frameworks were written for numpy 1 (MMagic uses np.bool8), and OpenCV requires numpy 2 from 4.12 on. The
        # bounds are here and not in the extras of the frameworks, so that no other extra raises numpy later.
        'numpy>=1.23,<2',
        'opencv-python>=4.6,<4.12',
        # lmdb 2 refuses to open a database that is open in the process or was before a fork. Data loaders do both, ours
        # and BasicSR's.
        'lmdb>=1.4,<2',
        'pillow',
        'scikit-image',
        'tqdm',
        'PyYAML',
    ],
    extras_require={
        'basicsr': ['basicsr>=1.4.2,<1.5'],
        # The three OpenCV distributions are requirements of MMagic's own; they share the folder cv2, so all have to be
        # of one version. mmcv is compiled: see "Installation" in the documentation.
        'mmagic': [
            'mmagic>=1.2.0,<1.3',
            'mmengine>=0.10,<0.11',
            'mmcv>=2.0,<2.2',
            'opencv-python-headless>=4.6,<4.12',
            'opencv-contrib-python>=4.6,<4.12',
            'diffusers>=0.23,<0.29',
            'huggingface-hub<0.26',
            'transformers<4.47',
            'albumentations>=1.3,<1.4',  # MMagic imports it and does not ask for it
            'setuptools<81',
        ],
        'sam': ['segment-anything'],
        'sam2': ['sam2'],
        'data': ['msgspec', 'scipy'],
        'experiments': ['matplotlib', 'msgspec', 'pandas', 'scipy', 'tabulate'],
        'dev': [
            'build',
            'codespell',
            'hypothesis',
            'import-linter',
            'jinja2',
            'mkdocs-material',
            'mkdocstrings[python]',
            'mypy',
            'pre-commit',
            'pytest',
            'pytest-timeout',
            'pytest-xdist',
            'ruff',
        ],
    },
)
