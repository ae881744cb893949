"""The benchmarks of training steps and loaders still run: one repeat each, on real photos."""

from __future__ import annotations

from importlib import import_module
from math import isfinite
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS
from benchmarks.training import STUDENTS


@pytest.mark.slow
@pytest.mark.parametrize(
    ('name', 'options'),
    [
        ('step', {}),
        ('price', {'side': 32, 'batch': 1}),
        ('loader', {}),
        ('mmagic_step', {}),
        ('mmagic_loader', {}),
    ],
)
def test_it_measures(name: str, options: dict[str, int], vgg_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SAPD_VGG_CHECKPOINT', str(vgg_weights))
    small = {'width': 4, 'enc_blk_nums': [1], 'middle_blk_num': 1, 'dec_blk_nums': [1]}
    monkeypatch.setitem(STUDENTS, 'NAFNet-w32', ('NAFNet', small))
    import_module(f'sapd_plugin.{BENCHMARKS[name]}')
    rows = import_module(f'benchmarks.{name}').run(repeats=1, **options)
    assert rows
    assert all(isfinite(row.value) for row in rows)
