from __future__ import annotations

import pytest

from sapd_plugin.core import StepSettings, check_frozen, read_settings
from sapd_plugin.errors import SAPDError

MISTAKES = {
    'key': ({'evry': 2}, r"sapd_opt: unknown key 'evry'.*Did you mean 'every'"),
    'block': ([2], r'sapd_opt: found \[2\], expected a block'),
    'stage': ({'stage': 'jiont'}, r"sapd_opt.stage: found 'jiont'.*Did you mean 'joint'"),
    'teacher': ({'teacher': 'frzen'}, r"sapd_opt.teacher: found 'frzen'.*Did you mean 'frozen'"),
    'every': ({'every': 0}, r'sapd_opt.every: found 0, expected an integer >= 1'),
    'chunks': ({'chunks': 2.0}, r'sapd_opt.chunks: found 2.0, expected an integer >= 1'),
    'accumulate': ({'accumulate': True}, r'sapd_opt.accumulate: found True'),
    'freeze_after': ({'teacher': 'frozen', 'freeze_after': -1}, r'freeze_after: found -1, expected an integer >= 0'),
    'decay': ({'teacher': 'ema', 'teacher_decay': 1.5}, r'teacher_decay: found 1.5, expected a number in \[0, 1\]'),
    'decay, text': ({'teacher': 'ema', 'teacher_decay': '1e-3'}, r"teacher_decay: found '1e-3', expected a number"),
    'another teacher': ({'freeze_after': 10}, r"freeze_after: only teacher 'frozen' reads it, and teacher is 'online'"),
    'output_index': ({'output_index': 'last'}, r"output_index: found 'last', expected an integer"),
    'output_index, flag': ({'output_index': True}, r'output_index: found True, expected an integer'),
    'frozen untrained': (
        {'teacher': 'frozen', 'freeze_after': 3, 'every': 4},
        r'sapd_opt.freeze_after: found 3, expected an integer >= 4, because SPF is first trained in iteration 4',
    ),
    'frozen untrained, accumulation': (
        {'teacher': 'frozen', 'freeze_after': 6, 'every': 2, 'accumulate': 4},
        r'freeze_after: found 6, expected an integer >= 8 and a multiple of accumulate \(4\)',
    ),
    'frozen inside a step': (
        {'teacher': 'frozen', 'freeze_after': 10, 'every': 2, 'accumulate': 4},
        r'freeze_after: found 10, expected an integer >= 8 and a multiple of accumulate \(4\)',
    ),
    'online': ({'online': 'sam'}, r"online: found 'sam', expected a block of settings"),
}


@pytest.mark.parametrize('mistake', MISTAKES)
def test_mistakes_are_named(mistake):
    block, message = MISTAKES[mistake]
    with pytest.raises(SAPDError, match=message):
        read_settings('sapd_opt', block)


def test_absent_settings_are_the_defaults():
    assert read_settings('sapd_opt', None) == read_settings('sapd_opt', {}) == StepSettings()
    assert read_settings('sapd_opt', {'teacher': 'ema', 'every': 4}) == StepSettings(teacher='ema', every=4)


def test_every_counts_steps_and_a_step_may_be_several_iterations():
    settings = StepSettings(every=3, accumulate=2)
    assert [i for i in range(1, 13) if settings.due(i)] == [5, 6, 11, 12]
    assert [settings.begins_step(i) for i in (5, 6)] == [True, False]
    assert [settings.ends_step(i) for i in (5, 6)] == [False, True]


@pytest.mark.parametrize(('every', 'accumulate'), [(1, 1), (3, 1), (1, 2), (3, 2)])
def test_the_shortest_training_of_a_frozen_teacher_holds_one_whole_step(every, accumulate):
    accepted = []
    for freeze_after in range(1, 3 * every * accumulate):
        try:
            settings = StepSettings(teacher='frozen', freeze_after=freeze_after, every=every, accumulate=accumulate)
        except SAPDError:
            continue
        accepted.append(freeze_after)
        trained = [i for i in range(1, freeze_after + 1) if settings.due(i)]
        assert trained
        assert len(trained) % accumulate == 0
    assert accepted == [*range(every * accumulate, 3 * every * accumulate, accumulate)]


def test_a_frozen_teacher_has_to_be_trained():
    keys = 'sapd_opt', 'path.pretrain_network_spf'
    frozen = StepSettings(teacher='frozen')
    with pytest.raises(SAPDError, match=r'sapd_opt.freeze_after: is 0.*path.pretrain_network_spf is empty'):
        check_frozen(frozen, *keys, None)
    check_frozen(frozen, *keys, 'net_spf.pth')
    check_frozen(StepSettings(teacher='frozen', freeze_after=5), *keys, None)
    check_frozen(StepSettings(), *keys, None)
