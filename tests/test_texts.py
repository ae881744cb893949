"""Text and JSON that a user may have edited: one error that names file, place and what is expected."""

from __future__ import annotations

import re

import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.texts import read_json, read_record, read_text


def test_text_is_read_as_any_editor_saves_it(tmp_path):
    path = tmp_path / 'list.txt'
    path.write_bytes('\ufeffeins\r\nzwölf\rdrei\n'.encode())
    assert read_text(path) == 'eins\nzwölf\ndrei\n'
    path.write_bytes('eins\nzwölf\n'.encode('latin-1'))
    with pytest.raises(
        SAPDError, match=r'list\.txt: found the byte 0xf6 in line 2, which is not UTF-8, expected a list\.'
    ):
        read_text(path, 'a list')


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('{"a": NaN}', 'found NaN, which is not a finite number; expected settings'),
        ('{"a": -Infinity}', 'found -Infinity, which'),
        ('{"a": 1e999}', 'found 1e999, which'),
        ('{"a": 1' + '0' * 5000 + '}', 'expected settings'),
        ('{', 'expected settings'),
        ('', 'expected settings'),
        ('[' * 100_000, 'found lists in lists without end, expected settings'),
    ],
)
def test_json_without_a_finite_value_is_named(tmp_path, content, message):
    path = tmp_path / 'x.json'
    path.write_text(content)
    with pytest.raises(SAPDError, match=f'^{re.escape(str(path))}: .*' if not message else re.escape(message)):
        read_json(path, 'settings')


def test_a_record_is_a_mapping(tmp_path):
    path = tmp_path / 'x.json'
    path.write_text('{"a": 1.5}')
    assert read_record(path, 'settings') == {'a': 1.5}
    path.write_text('[1]')
    with pytest.raises(SAPDError, match=r'x\.json: found \[1\], expected settings\.'):
        read_record(path, 'settings')
