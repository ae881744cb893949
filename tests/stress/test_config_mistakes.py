"""A sample of the random mistakes of ``config_mistakes.py``; the script runs them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.stress.config_mistakes import DATA, TRAINERS, campaign, cases, make_files


@pytest.mark.parametrize(('framework', 'mistakes', 'valid'), [('basicsr', 120, 12), ('mmagic', 20, 3)])
def test_a_sample_of_mistakes_is_named_and_valid_values_train(
    framework: str, mistakes: int, valid: int, pairs: Path, store: Path, vgg_weights: Path, tmp_path: Path
) -> None:
    trainer = TRAINERS[framework](pairs, store, vgg_weights, tmp_path)
    assert campaign(trainer, mistakes, valid, 0, 1, make_files(tmp_path / 'files')) == []


@pytest.mark.slow
@pytest.mark.parametrize('framework', TRAINERS)
def test_a_mistake_ends_the_real_command_in_one_line(framework, pairs, store, vgg_weights, tmp_path) -> None:
    trainer = TRAINERS[framework](pairs, store, vgg_weights, tmp_path)
    assert campaign(trainer, 1, 0, 1, 2, make_files(tmp_path / 'files')) == []


def test_the_data_hold_enough_mistakes(tmp_path):
    assert len(cases('basicsr', False, tmp_path)) > 500
    assert len(cases('mmagic', False, tmp_path)) > 250
    assert set(DATA['kinds']) == {entry['kind'] for key in TRAINERS for entry in DATA[key].values()}
