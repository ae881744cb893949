"""Checkpoints of MMEngine: forged ones, those cut short, and those that torch reads without this package."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer

import sapd_plugin.mmagic  # noqa: F401
from sapd_plugin.core.archives import LOADS_TRUSTED_ONLY, is_whole
from tests.photos import ROOT

# Reads a checkpoint as MMEngine does; a crash of the interpreter is an exit status below 0.
READ = """
import sys
import sapd_plugin.mmagic
from mmengine.runner import CheckpointLoader
for path in sys.argv[1:]:
    try:
        found = CheckpointLoader.load_checkpoint(path, map_location='cpu')
        repr(found), found['x'] + found['x'], found['x'].sum()
        print('read')
    except Exception as error:
        print('refused', type(error).__name__, str(error)[:200].replace(chr(10), ' '))
"""
needs_trust = pytest.mark.skipif(not LOADS_TRUSTED_ONLY, reason='this torch reads every class by default')


class Reduced:
    """An object that is pickled as a call of ``function`` with ``arguments``, then a state."""

    def __init__(self, function: Any, arguments: tuple[Any, ...], *state: Any) -> None:
        self.parts = function, arguments, *state

    def __reduce__(self) -> Any:
        return self.parts


RECONSTRUCT, _, _ = np.zeros(1).__reduce__()
SCALAR = np.float64(0).__reduce__()[0]


def dtype(code: str = 'f8', *state: Any) -> Reduced:
    return Reduced(np.dtype, (code, False, True), state or (3, '<', None, None, None, -1, -1, 0))


def array(shape: Any, kind: Any, data: Any, *more: Any) -> Reduced:
    return Reduced(RECONSTRUCT, (np.ndarray, (0,), b'b'), (1, shape, kind, False, data, *more))


POINTER = (0xDEADBEEF00).to_bytes(8, 'little')
FORGED = {
    'objects': array((1,), dtype('O8', 3, '|', None, None, None, -1, -1, 63), POINTER),
    'objects in fields': array((1,), dtype('V8', 3, '|', None, ('a',), {'a': (np.dtype('O'), 0)}, 8, 1, 27), POINTER),
    'numbers with fields of objects': array(
        (1,), dtype('f8', 3, '<', None, ('a',), {'a': (dtype('O8'), 0)}, 8, 1, 27), POINTER
    ),
    'numbers with the flags of objects': array((1,), dtype('f8', 3, '<', None, None, None, -1, -1, 63), POINTER),
    'a scalar that is an object': Reduced(SCALAR, (dtype('O8', 3, '|', None, None, None, -1, -1, 63), POINTER)),
    'a scalar that is too short': Reduced(SCALAR, (dtype(), b'1234')),
    'too few bytes': array((100,), dtype(), POINTER),
    'too many bytes': array((1,), dtype(), POINTER * 2),
    'negative lengths': array((-1, -1), dtype(), POINTER),
    'a negative length': array((-8,), dtype('u1'), POINTER),
    'a huge empty shape': array((2**62, 0), dtype(), b''),
    'a product that overflows': array((2**32, 2**32), dtype('u1'), b''),
    'too many sides': array((1,) * 100, dtype(), POINTER),
    'text for bytes': array((1,), dtype(), 'a' * 8),
    'a list for bytes': array((1,), dtype(), [POINTER]),
    'a shape that is text': array('1', dtype(), POINTER),
    'no state': Reduced(RECONSTRUCT, (np.ndarray, (2**40,), b'O')),
    # These three killed the process when numpy's own functions were trusted.
    'a buffer for objects': Reduced(np.ndarray, ((1,), 'O', POINTER)),
    'numbers for objects': Reduced(np.ndarray, ((1,), 'O', Reduced(np.ndarray, ((1,), 'i8', POINTER)))),
    'numbers with a sub-array of objects': array(
        (1,), dtype('i8', 3, '<', (Reduced(np.dtype, ('O',)), (1,)), None, None, 8, 1, 1), POINTER
    ),
    'objects without a state': array((1,), Reduced(np.dtype, ('O',)), POINTER),
    'a structure of objects': array((1,), Reduced(np.dtype, ([('a', 'O')],)), POINTER),
    'a scalar that is a structure of objects': Reduced(SCALAR, (Reduced(np.dtype, ([('a', 'O')],)), POINTER)),
    'a step of zero': Reduced(np.ndarray, ((2**40,), 'u1', POINTER, 0, (0,))),
    'a class of its own': Reduced(RECONSTRUCT, (dict, (0,), b'b')),
    'a name that is not a method': Reduced(getattr, (HistoryBuffer, '__init__')),
}
HARMLESS = ['numbers with the flags of objects', 'no state']  # the flags are not read; the array is empty


def write(path: Path, value: Any) -> Path:
    """Write ``{'x': value}`` as torch.save would."""
    buffer = io.BytesIO()
    pickle.Pickler(buffer, protocol=2).dump({'x': value})
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w', zipfile.ZIP_STORED) as archive:
        for name, data in parts.items():
            archive.writestr(name, buffer.getvalue() if name.endswith('data.pkl') else data)
    return path


def read(paths: list[Path]) -> list[str]:
    result = subprocess.run(
        [sys.executable, '-c', READ, *map(str, paths)], capture_output=True, text=True, env=None, cwd=ROOT, check=False
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return [line for line in result.stdout.splitlines() if line.startswith(('read', 'refused'))]


@needs_trust
def test_forged_arrays_are_refused_and_kill_nothing(tmp_path):
    paths = [write(tmp_path / f'{number}.pth', value) for number, value in enumerate(FORGED.values())]
    found = dict(zip(FORGED, read(paths), strict=True))
    assert {name for name, answer in found.items() if answer == 'read'} == set(HARMLESS), found
    reasons = {answer.split()[1] for answer in found.values() if answer != 'read'}
    assert reasons <= {'ValueError', 'TypeError', 'UnpicklingError'}, found


@needs_trust
def test_what_numpy_and_mmengine_write_is_read(tmp_path):
    log = HistoryBuffer([1.5, 2.5], [1, 1], 7)
    arrays = {
        'float': np.arange(6.0).reshape(2, 3),
        'fortran': np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        'big-endian': np.arange(3, dtype='>i4'),
        'empty': np.zeros((0, 4), np.uint8),
        'bool': np.array([True, False]),
        'complex': np.array([1 + 2j]),
        'no sides': np.array(3.0),
    }
    scalars = [np.float64(1.5), np.int64(-3), np.bool_(True), np.float32(0.1)]
    torch.save({'log': log, 'again': log, **arrays, 'scalars': scalars}, tmp_path / 'a.pth')
    for path in (tmp_path / 'a.pth', tmp_path / 'b.pth'):  # the second is what was read, saved again
        found = torch.load(path)
        assert type(found['log']) is HistoryBuffer
        assert found['log'] is found['again']
        assert found['log'].max_length == 7
        found['log'].update(3.5)
        assert found['log'].mean() == 2.5
        assert f'{found["log"].mean():.1f}' == '2.5'
        for name, value in arrays.items():
            expected = pickle.loads(pickle.dumps(value, 2))
            assert found[name].dtype == expected.dtype
            np.testing.assert_array_equal(found[name], expected)
        assert [type(each) for each in found['scalars']] == [type(each) for each in scalars]
        assert found['scalars'] == scalars
        torch.save(torch.load(tmp_path / 'a.pth'), tmp_path / 'b.pth')
    with zipfile.ZipFile(tmp_path / 'b.pth') as archive:
        assert b'sapd_plugin' not in archive.read('b/data.pkl')


def test_a_file_that_is_cut_short_is_not_whole(tmp_path):
    torch.save({'x': torch.rand(1000)}, tmp_path / 'new.pth')
    torch.save({'x': torch.rand(1000)}, tmp_path / 'old.pth', _use_new_zipfile_serialization=False)
    for name in ('new.pth', 'old.pth'):
        whole = (tmp_path / name).read_bytes()
        assert is_whole(tmp_path / name)
        for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
            (tmp_path / 'cut.pth').write_bytes(whole[:length])
            assert not is_whole(tmp_path / 'cut.pth')
    assert not is_whole(tmp_path / 'absent.pth')
    assert not is_whole(tmp_path)
