"""The quickstart: a table of experiments and its picture, resumed, and kept apart from runs with different settings."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import cv2
import pytest

from sapd_plugin.cli import quickstart
from sapd_plugin.datasets.sample_photos import make_pairs
from sapd_plugin.errors import SAPDError


@pytest.fixture
def photos(pairs, tmp_path) -> Path:
    """Four pairs, one of them for testing."""
    return shutil.copytree(pairs, tmp_path / 'photos')


@pytest.fixture
def without_weights(tmp_path, monkeypatch) -> None:
    """No SAM, no VGG-19, and no MMagic, as in the environment for BasicSR alone."""
    for variable in ('SAPD_SAM_CHECKPOINT', 'SAPD_VGG_CHECKPOINT'):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv('TORCH_HOME', str(tmp_path))
    for module in ('mmagic', 'mmengine', 'mmcv'):
        monkeypatch.setitem(sys.modules, module, None)


@pytest.mark.slow
def test_it_ends_with_a_table_and_a_picture_and_is_done_once(photos, without_weights, tmp_path, capsys):
    command = ['--data', str(photos), '--iterations', '4', '--seed', '7', '--output', str(tmp_path / 'out')]
    assert quickstart.main(command) == 0
    printed = capsys.readouterr().out
    assert 'segmenter: felzenszwalb, no SAM weights found' in printed
    assert 'SGR: left out, no VGG-19 weights found' in printed
    table = re.sub(' +', ' ', (tmp_path / 'out/table.md').read_text())
    assert re.search(r'SRVGGNetCompact \| stock \| \| 4 \(shortened\) \| \d\d\.\d\d \|', table)
    assert re.search(r'masks, SPD \| felzenszwalb, restored \| 4 \(shortened\) \| \d\d\.\d\d \([+-]', table)
    assert 'it is not evidence of a gain' in table
    height, width, _ = cv2.imread(str(tmp_path / 'out/picture.png')).shape
    assert (height, width) == (192 + 18, 6 * 224)  # a row of six tiles with captions, of photos of 96x112
    assert (tmp_path / 'out/basicsr/quickstart/SRVGGNetCompact/full/spd/7/results.json').is_file()

    assert quickstart.main(command) == 0
    again = capsys.readouterr()
    assert again.out.count(': done\n') == 7  # of both cells training, test and cost, and masks
    assert 'it/s' not in again.err

    assert quickstart.main([word if word != '4' else '5' for word in command]) == 2
    assert 'holds a run with different settings' in capsys.readouterr().err
    assert quickstart.main([word if word != '7' else '8' for word in command]) == 2
    assert 'holds pairs with seed = 7, expected 8' in capsys.readouterr().err


def test_the_pairs_of_photographs_are_the_same_for_a_seed(tmp_path):
    make_pairs(tmp_path / 'a', None, 3)
    make_pairs(tmp_path / 'b', None, 3)
    names = sorted(path.relative_to(tmp_path / 'a') for path in (tmp_path / 'a').rglob('*.png'))
    assert len(names) == 2 * (4 + 2)
    assert all((tmp_path / 'a' / name).read_bytes() == (tmp_path / 'b' / name).read_bytes() for name in names)


@pytest.mark.parametrize(
    ('prepare', 'message'),
    [
        (lambda folder: (folder / 'rainy').rename(folder / 'rainny'), "found .*'rainny'.* expected one of these pairs"),
        (lambda folder: (folder / 'rainy/001.png').unlink(), '1 images have no counterpart .* the first: 001'),
        (lambda folder: (folder / 'rainy/001.png').write_bytes(b''), "'001' is unreadable"),
    ],
)
def test_folders_that_are_not_pairs_are_refused(photos, tmp_path, prepare, message):
    prepare(photos)
    with pytest.raises(SAPDError, match=message):
        make_pairs(tmp_path / 'out', photos, 0)


def test_a_checkpoint_that_is_absent_is_refused_before_anything_is_written(tmp_path, capsys):
    assert quickstart.main(['--sam-checkpoint', 'absent.pt', '--output', str(tmp_path / 'out')]) == 2
    assert 'absent.pt' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()
