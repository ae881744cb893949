"""Records of YAML files: what nobody would read is refused, with its place and the nearest valid name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.structs import Record, convert, read_struct


class Part(Record, frozen=True):
    folder: str
    count: int = 1


class Whole(Record, frozen=True):
    name: str
    size: Literal['full', 'tiny'] = 'full'
    sigma: int | float | None = None
    types: tuple[str, ...] = msgspec.field(name='type', default=())
    parts: Mapping[str, Part] = msgspec.field(default={})
    more: tuple[Part, ...] | None = None


def test_a_record_is_read_from_yaml(tmp_path):
    path = tmp_path / 'whole.yml'
    path.write_text('{name: a, sigma: 15, type: [b], parts: {c: {folder: d}}, more: [{folder: e, count: 2}]}')
    found = read_struct(path, Whole)
    assert found == Whole(
        name='a', sigma=15, types=('b',), parts={'c': Part(folder='d')}, more=(Part(folder='e', count=2),)
    )
    assert isinstance(found.sigma, int)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('{names: a}', r"whole.yml: unknown key 'names'. Valid keys: .*type.* Did you mean 'name'"),
        ('{name: a, size: tinny}', r"whole.yml.size: found 'tinny', expected one of full, tiny. Did you mean 'tiny'"),
        ('{name: a, types: [b]}', r"whole.yml: unknown key 'types'.*Did you mean 'type'"),
        ('{name: a, parts: {c: {foldr: d}}}', r"whole.yml.parts.c: unknown key 'foldr'.*Did you mean 'folder'"),
        ('{name: a, parts: {c: {}}}', r"whole.yml.parts.c: found no key 'folder'"),
        ('{name: a, more: [{folder: e, cuont: 2}]}', r"whole.yml.more\[0\]: unknown key 'cuont'"),
        ('{name: a, more: [{folder: e, count: two}]}', r'whole.yml.more\[0\].count: Expected `int`, got `str`'),
        ('[name]', 'found list, expected a mapping'),
        ('a: [', 'not YAML'),
        ('name: ' + '[' * 5000, 'not YAML of ours: found lists in lists without end'),
        ('{name: a, parts: &x {c: *x}}', r'whole.yml.*: (unknown key|found a value that contains itself)'),
        ('{name: a, types: &x [*x], more: ~}', "unknown key 'types'"),
        ('{name: a, type: &x [*x]}', r'whole.yml'),
        ('{name: a, sigma: .nan}', 'whole.yml.sigma: found nan, expected a finite number'),
        ('{name: a, sigma: -.inf}', 'whole.yml.sigma: found -inf, expected a finite number'),
        ('{name: 2024-13-01}', 'not YAML: month must be in 1..12'),
        ('{name: !!timestamp x}', 'not YAML: '),
        ('{name: !!int x}', 'not YAML: '),
        ('{name: !!python/object/apply:os.getcwd []}', 'not YAML: could not determine a constructor'),
        ('{name: a\x00}', 'not YAML: '),
        ('{1: a}', r"whole.yml: unknown key '1'"),
        ('{[a]: 1}', 'not YAML: '),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path, text, message):
    path = tmp_path / 'whole.yml'
    path.write_text(text)
    with pytest.raises(SAPDError, match=message):
        read_struct(path, Whole)


def test_text_that_is_not_utf_8_is_named(tmp_path):
    path = tmp_path / 'whole.yml'
    path.write_bytes(b'name: a\ntype: [\xe9]')
    with pytest.raises(SAPDError, match=r'whole.yml: found the byte 0xe9 in line 2, which is not UTF-8, expected YAML'):
        read_struct(path, Whole)
    path.write_bytes(b'\xef\xbb\xbfname: a')
    assert read_struct(path, Whole).name == 'a'


def test_a_file_that_is_absent_is_named(tmp_path):
    with pytest.raises(SAPDError, match='found no file .*absent.yml'):
        read_struct(tmp_path / 'absent.yml', Whole)


def test_a_value_of_another_kind_is_named():
    with pytest.raises(SAPDError, match='here: Expected `object`, got `int`'):
        convert(3, Part, 'here')


def test_half_of_a_surrogate_pair_is_named():
    with pytest.raises(SAPDError, match=r"^results.json: found '\\udc80x', which is not text"):
        convert({'name': '\udc80x', 'sigma': '\udc80x'}, Whole, 'results.json')
