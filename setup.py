"""Packaging of sapd_plugin.

The frameworks are extras: a BasicSR user needs no mmcv, an MMagic user no BasicSR. Exact versions that were
installed and run together are in requirements/*.lock; the ranges here are the ones the code supports.
"""

from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent

setup(
    name='sapd_plugin',
    version='0.1.0',
    description='SAM priors for image restoration in BasicSR and MMagic: better students, stock inference',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    python_requires='>=3.9',
    packages=find_packages(include=['sapd_plugin', 'sapd_plugin.*']),
    install_requires=[
        'torch>=2.0',
        'torchvision',
        'numpy',
        'opencv-python-headless',
        'lmdb',
        'pillow',
        'scikit-image',
        'tqdm',
    ],
    extras_require={
        'sam': ['segment-anything'],
        'sam2': ['sam2'],
        'basicsr': ['basicsr>=1.4.2'],
        'mmagic': ['mmagic>=1.2.0', 'mmengine>=0.10', 'mmcv>=2.0,<2.2'],
    },
)
