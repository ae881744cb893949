"""Types and ranges that annotations declare, checked in calls and before them."""

from __future__ import annotations

import math
from typing import Annotated, Any

import pytest
import torch
import yaml
from torch.optim import Adam

from sapd_plugin.errors import SAPDError, check_template
from sapd_plugin.values import (
    Block,
    Count,
    File,
    Name,
    Natural,
    Positive,
    Seed,
    Share,
    Template,
    Weight,
    check_arguments,
    check_betas,
    check_value,
    checked,
    one_of,
)
from sapd_plugin.weight_files import read_weights

NOT_NUMBERS: list[Any] = ['1', 'x', True, None, [1], {}, math.nan, math.inf, 10**400]
KINDS: dict[str, tuple[Any, list[Any], list[Any]]] = {
    'weight': (Weight, [0, 0.1, 3], [-0.1, *NOT_NUMBERS]),
    'positive': (Positive, [1e-9, 2], [0, -1, *NOT_NUMBERS]),
    'share': (Share, [0, 0.5, 1], [-0.1, 1.1, *NOT_NUMBERS]),
    'count': (Count, [1, 7], [0, -1, 1.0, *NOT_NUMBERS[:-1]]),
    'natural': (Natural, [0, 7], [-1, 1.0, *NOT_NUMBERS[:-1]]),
    'seed': (Seed, [0, 2**32 - 1], [-1, 2**32, 1.5, *NOT_NUMBERS[:-1]]),
    'optional': (Count | None, [None, 1], [0, '1', False]),
    'flag': (bool, [True, False], [0, 1, 'no', None]),
    'name': (Name, ['a'], ['', 3, None, ['a']]),
    'file': (File, ['a/b'], ['', 3, 'a\0b', ['a']]),
    'block': (Block, [{}, {'a': 1}], [3, 'a', [1], None]),
    'choice': (Annotated[str, one_of('a', 'b')], ['a'], ['c', 3, ['a'], None, {}]),
    'template': (
        Template,
        ['{}', 'x_{}', '{0}_y'],
        ['', 'x', '{', '}', '{x}', '{}{}', '{:>9}', '{!r}', '{{}}', 3, None],
    ),
    'anything else': (dict[str, int], [3, None, 'x'], []),
}


@pytest.mark.parametrize('kind', KINDS)
def test_kinds_take_what_they_say(kind):
    annotation, valid, invalid = KINDS[kind]
    for value in valid:
        check_value('key', value, annotation)
    for value in invalid:
        with pytest.raises(SAPDError, match='^key: found .*, expected '):
            check_value('key', value, annotation)


@pytest.mark.parametrize(
    ('text', 'kind', 'hint'),
    [
        ('1e-4', Weight, ' In YAML, write 0.0001.'),
        ('1e-8', Weight, ' In YAML, write 1.0e-08.'),
        ('1.0e5', Count, ' In YAML, write 100000.'),
        ('2.5', Count, ''),
        ('many', Weight, ''),
        ('nan', Weight, ''),
    ],
)
def test_a_number_that_yaml_reads_as_text_is_written_as_a_number(text, kind, hint):

    with pytest.raises(SAPDError) as caught:
        check_value('key', text, kind)
    assert hint in str(caught.value)
    assert ('In YAML' in str(caught.value)) == bool(hint)
    if hint:
        assert yaml.safe_load(hint.removeprefix(' In YAML, write ')[:-1]) == pytest.approx(float(text))


def test_templates_are_what_str_format_fills_with_a_name():
    for template in ('{}', 'x_{}', '{0}_y'):
        check_template('key', template)
        assert 'name' in template.format('name')


def test_arguments_of_anybodys_classes_are_checked_by_their_defaults():
    def own(size, gain=1.0, flag=True, mode='a', pair=(1, 2)):
        pass

    check_arguments('k', {'size': 'any', 'gain': 2, 'flag': False, 'mode': 3, 'pair': 'x'}, own)
    check_arguments('k', {'flag': 'deep'}, own)
    check_arguments('k', {'lr': 1e-3, 'betas': [0.9, 0.99]}, Adam)
    for values, message in (
        ({'gain': '2'}, 'k.gain: found'),
        ({'gain': True}, 'k.gain: found'),
        ({'size': math.nan}, 'k.size: found nan'),
        ({'flag': 'no'}, "k.flag: found 'no', expected true or false"),
    ):
        with pytest.raises(SAPDError, match=message):
            check_arguments('k', values, own)
    with pytest.raises(SAPDError, match="k.lr: found '1e-3'"):
        check_arguments('k', {'lr': '1e-3'}, Adam)


def test_a_checked_class_is_checked_in_the_call_and_before_it_also_by_its_subclasses():
    class Base:
        @checked
        def __init__(self, weight: Weight = 0.1) -> None:
            self.weight = weight

    class Derived(Base):
        pass

    assert Derived(0.5).weight == 0.5
    for call in (lambda: Derived(-1), lambda: Base(weight='1')):
        with pytest.raises(SAPDError, match='^weight: found'):
            call()
    with pytest.raises(SAPDError, match='^block.weight: found -1'):
        check_arguments('block', {'weight': -1}, Derived)


def test_betas_are_below_one():
    check_betas('k', [0, 0.999])
    for value in (0.9, '0.9', [0.9], [1, 0.9], ['0.9', 0.9]):
        with pytest.raises(SAPDError, match='^k'):
            check_betas('k', value)


def test_files_that_hold_no_weights_are_told_apart(tmp_path):
    torch.save({'a': torch.zeros(999)}, tmp_path / 'whole.pth')
    whole = (tmp_path / 'whole.pth').read_bytes()
    assert read_weights('key', tmp_path / 'whole.pth', 'weights')['a'].shape == (999,)
    torch.save([1], tmp_path / 'list.pth')
    contents = {
        'is empty': b'',
        'is a web page': b' <!DOCTYPE html><html></html>',
        'was not downloaded to its end': whole[:-400],
        'is a pointer of Git LFS': b'version https://git-lfs.github.com/spec/v1\noid sha256:1',
        'is not a checkpoint': b'some text',
    }
    for message, content in contents.items():
        (tmp_path / 'broken.pth').write_bytes(content)
        with pytest.raises(SAPDError, match=f'^key: .*broken.pth {message}.*, expected weights.$|^key: .*{message}'):
            read_weights('key', tmp_path / 'broken.pth', 'weights')
    with pytest.raises(SAPDError, match='holds a list, expected weights'):
        read_weights('key', tmp_path / 'list.pth', 'weights')
    with pytest.raises(SAPDError, match='^key: no file'):
        read_weights('key', tmp_path / 'absent.pth', 'weights')
