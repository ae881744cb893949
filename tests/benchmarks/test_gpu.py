"""``python -m benchmarks.gpu``: without a GPU it measures nothing, and on a CPU every part runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.device import precision
from benchmarks.fixtures import Row
from sapd_plugin.errors import SAPDError


def test_without_a_gpu_no_number_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert gpu.main(['--output', str(tmp_path)]) == 0
    assert 'nothing was measured' in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_every_part_runs_on_a_cpu(tmp_path: Path, vgg_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('SAPD_VGG_CHECKPOINT', str(vgg_weights))
    monkeypatch.delenv('SAPD_SAM_CHECKPOINT', raising=False)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    assert gpu.main(['--device', 'cpu', '--tiny', '--output', str(tmp_path)]) == 0
    report = json.loads((tmp_path / 'gpu.json').read_text())
    assert report['machine']['device'] == 'cpu'
    assert report['skipped'] == {'MobileSAM': 'found no checkpoint of MobileSAM: set SAPD_SAM_CHECKPOINT.'}
    tables = {part: {row['what']: row['value'] for row in rows} for part, rows in report['tables'].items()}
    assert set(tables['Same gradients as on the CPU'].values()) == {0.0}
    shares = tables['Half precision']
    assert list(shares.values()) == [pytest.approx(precision.SHARE, rel=0.1)] * len(precision.CASES)
    step = tables['Step of NAFNet-w4']
    assert (
        step['2 x 64x64, float32: chunks: 4, peak memory / stock']
        < step['2 x 64x64, float32: default, peak memory / stock']
    )
    text = (tmp_path / 'gpu.md').read_text()
    assert 'The numbers mean nothing' in text
    assert text.count('\n| ') == sum(map(len, tables.values())) + 3


def test_a_part_that_fails_or_lacks_something_does_not_stop_the_others() -> None:
    def lacks() -> list[Row]:
        raise SAPDError('no checkpoint')

    def fails() -> list[Row]:
        raise RuntimeError('a kernel\nfailed')

    report = gpu.measure({'a': lacks, 'b': fails, 'c': lambda: [Row('what', 1.5, 'ms')]}, minutes=1)
    assert report['skipped'] == {'a': 'no checkpoint'}
    assert report['failed'] == {'b': 'RuntimeError: a kernel failed'}
    assert report['tables'] == {'c': [{'what': 'what', 'value': 1.5, 'unit': 'ms'}]}
    assert gpu.measure({'c': lambda: []}, minutes=-1)['skipped'] == {'c': '-1 minutes are over.'}
