from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

from sapd_plugin.cli import weights
from sapd_plugin.evaluation import published_weights


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for variable in weights.VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    (tmp_path / 'hub' / 'checkpoints').mkdir(parents=True)
    return tmp_path / 'hub' / 'checkpoints'


def test_the_table_names_each_file_and_its_publisher(cache: Path, capsys: pytest.CaptureFixture) -> None:
    assert weights.main([]) == 0
    out = capsys.readouterr().out
    for item in weights.PUBLISHED:
        assert item.file in out
        assert item.prefix in item.file, 'no hash but the one that the name contains'
    assert str(cache) in out
    assert 'found here\n  nothing' in out


def test_files_are_found_and_compared_with_their_names(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    (cache / 'mobile_sam.pt').write_bytes(b'any')
    (tmp_path / 'own.pth').write_bytes(b'own')
    monkeypatch.setenv('SAPD_SAM_CHECKPOINT', str(tmp_path / 'own.pth'))
    assert weights.main([]) == 0
    out = capsys.readouterr().out
    assert f'sha256 {hashlib.sha256(b"any").hexdigest()}; its authors published no digest to compare with' in out
    assert f'sha256 {hashlib.sha256(b"own").hexdigest()}; its name is not that of a published file' in out

    (tmp_path / 'sam_vit_b_01ec64.pth').write_bytes(b'broken download')
    assert weights.main([str(tmp_path)]) == 1
    assert 'NOT the published file: md5' in capsys.readouterr().out


def test_a_file_with_the_hash_of_its_name_is_genuine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'file'
    path.write_bytes(b'x')
    begin = hashlib.md5(b'x').hexdigest()[:6]
    monkeypatch.setattr(published_weights, 'PUBLISHED', [published_weights.Published('', 'file', '', 'md5', begin)])
    assert published_weights.verdict(path) == (True, 'its md5 digest matches its name')
