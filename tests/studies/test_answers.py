"""The second study's answers: each sentence and the picture follow from the numbers, whatever has been measured."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from sapd_plugin.evaluation.mask_verdict import Verdict
from studies.sam_priors import answers, build, pictures
from studies.sam_priors.measurements import Study

SEEDS = range(5)
SPREAD = np.array([-0.002, 0.001, 0.0, 0.002, -0.001])  # over seeds, of zero mean


@pytest.fixture
def study():
    """The study without students of question 3."""
    found = Study(build.FOLDER / 'results')
    return measured(found, {})


def measured(study: Study, gains: dict[str, float], table: str = answers.TRAINED, metric: str = 'psnr') -> Study:
    """Put made-up students in the place of those of all regimes: of arms that are ahead of stock by ``gains``."""
    frame = study._values.drop(index=list(answers.REGIMES), level='table', errors='ignore')
    index = pd.MultiIndex.from_product([[table], [answers.STUDENT], [answers.TEST], [metric], SEEDS])
    arms = {arm: 26 + SPREAD * (number + 1) + gain for number, (arm, gain) in enumerate(gains.items())}
    if gains:
        arms['stock'] = np.full(5, 26.0)
        frame = pd.concat([frame, pd.DataFrame(arms, index.set_names(frame.index.names))]).sort_index()
    study._values = frame
    study._differences.clear()
    return study


def trial(own: float, shuffled: float, twin: float = 0.0) -> Verdict:
    """Return a trial of masks of the clean photo: z - y of three seeds and four photos, by arm."""
    gains = {'cascade': 0.0, 'one region': twin, 'clean': own, 'clean, shuffled': shuffled}
    rows = [
        {'arm': arm, 'seed': seed, 'masks': 'own', 'photo': photo, 'gain': gain * (1 + 0.1 * seed + 0.01 * photo)}
        for arm, gain in gains.items()
        for seed in range(3)
        for photo in range(4)
    ]
    return Verdict(pd.DataFrame(rows))


def test_masks_help_where_the_intervals_over_seeds_and_photos_are_above_zero(study):
    study.trials = {
        'noise50_converged': trial(0.2, 0.0),
        'heavy_rain': trial(-0.2, 0.0),
        'strong_blur': trial(0.2, 0.2),
    }
    lines = list(answers.teacher(study))
    assert lines[0] == 'Denoising, sigma 50: masks of the clean photo +0.223 [+0.173, +0.273] dB, a gain.'
    assert lines[1].endswith('-0.223 [-0.273, -0.173] dB, no gain is shown.')
    verdict = "better than without masks, but not shown to be better than with another photo's masks"
    assert lines[2].endswith(f'+0.223 [+0.173, +0.273] dB, {verdict} (+0.000 [+0.000, +0.000] dB).')
    assert f'clean: {verdict}: z is +0.223' in ''.join(study.trials['strong_blur'].sentences())
    assert lines[3].endswith('reach it in 2, masks extracted from y in 0.')
    start = 'Masks of the clean photo make z better in 2 of 3 tasks (in 1 of them not shown to be better than another'
    assert answers.summary(study).startswith(f"{start} photo's); masks extracted from y, as in the paper, in 0.")


def test_the_best_recipe_is_that_of_the_recipes_with_several_seeds(study):
    words = answers.recipes(study)
    assert re.match(
        r'No gain is shown\. 10 recipes were tried, 3 of them with several seeds\. The best of those', words
    )
    assert ' `mix_gated`, differs from stock by -0.005 ± 0.268 dB (3 seeds, from scratch, validation' in words


def test_a_claim_is_answered_as_it_was_tested(study):
    def answer(*gains):
        names = ('student_clean', 'student_free')
        return list(answers.students(measured(study, dict(zip(names, gains)))))[2]

    assert "so the method's claim holds, below the +0.10 dB" in answer(0.05, 0.0)
    assert "the same recipe without masks, so the masks' claim holds, below" in answer(0.05, 0.0)
    assert "so the method's claim holds (p < 0.001)" in answer(0.2, 0.2)
    assert "so the masks' claim does not hold (p = 1.000)" in answer(0.2, 0.2)
    assert "over stock, so the method's claim does not hold: this is a loss" in answer(-0.05, 0.0)


def test_a_claim_without_its_control_is_not_tested(study):
    line = list(answers.students(measured(study, {'student_clean': 0.2})))[2]
    assert "so the method's claim holds" in line
    assert line.endswith("; the masks' claim was not tested with several seeds yet.")


def test_the_summary_says_what_the_claims_say(study):
    assert '**No gain of a student is shown**; the runs' in answers.summary(study)
    names = ('student_clean', 'student_free')
    for gains, words in (
        ((0.0, 0.0), '**No gain of a student over stock is shown** (1 of 3 regimes measured).'),
        (
            (0.2, 0.0),
            '**A student gains over stock** (a trained student); masks have a part in it (a trained student).',
        ),
        ((0.2, 0.2), '**A student gains over stock** (a trained student); no part of it is shown to be due to masks.'),
    ):
        assert words in answers.summary(measured(study, dict(zip(names, gains))))


def test_what_was_not_measured_is_said(study):
    lines = list(answers.students(study))
    start = 'From scratch: not run with several seeds. According to the pilot, an interval of ± 0.10 dB needs'
    assert re.fullmatch(rf'{re.escape(start)} \d+ seeds; 5 were planned\.', lines[0])
    assert lines[1:] == [
        f'{name}: not measured with several seeds yet.' for name in ('From scratch, 24 photos', 'A trained student')
    ]
    assert answers.defaults(study) == 'Not measured with several seeds yet.'
    assert answers.longer(study) == ''
    study.segments = study.segments[study.segments['table'] != answers.TRAINED]
    assert list(answers.beyond(study)) == [
        'SSIM was not measured with several seeds yet.',
        'The agreement of masks on restored images was not measured yet.',
    ]


@pytest.mark.parametrize(
    ('gain', 'verdict'),
    [(-0.05, 'Yes, they do harm: '), (0.0, 'No harm is shown, and no gain: '), (0.05, 'No, they gain: ')],
)
def test_the_defaults_do_harm_where_their_interval_is_below_zero(study, gain, verdict):
    words = answers.defaults(measured(study, {'as_added': gain}))
    assert words.startswith(f'{verdict}PSNR minus that of stock {gain:+.3f} [')
    assert words.endswith('(5 seeds, a trained student).')


def test_longer_training_is_compared_with_stock_of_equal_seeds(study):
    columns = ['table', 'model', 'arm', 'seed', 'iterations', 'training_seconds']
    rows = [
        (answers.SCRATCH, 'stock', 1500, 300),
        *((answers.TRAINED, arm, 1500, 300) for arm in ('stock', 'teach_clean')),
    ]
    rows += [(answers.TRAINED, 'student_clean', 1500, 450), (answers.TRAINED, 'pretraining', 6000, 1200)]
    frame = pd.DataFrame([(table, answers.STUDENT, arm, 0, *more) for table, arm, *more in rows], columns=columns)
    study.cells = frame
    index = pd.MultiIndex.from_product(
        [[answers.SCRATCH, answers.TRAINED], [answers.STUDENT], [answers.TEST], ['psnr'], [0]]
    )
    study._values = pd.DataFrame({'stock': [26.0, 26.5], 'pretraining': [np.nan, 26.4]}, index)
    study._values.index.names = ['table', 'model', 'test', 'metric', 'seed']
    words = answers.longer(study)
    assert words.startswith('Stock from scratch gains +0.400 dB by 4 times the iterations (6,000 for 1,500; 1 seed).')
    assert 'with its teacher takes 2.5 times as long as stock' in words


def test_beyond_psnr_has_ssim_and_points_of_covering(study):
    measured(study, {'student_clean': 0.01}, metric='ssim')
    one = study.segments.query("table == 'mini_derain'")
    rows = [one.assign(table=answers.TRAINED, seed=seed) for seed in (0.0, 1.0)]
    study.segments = pd.concat([one, *rows]).reset_index(drop=True)
    own = study.segments['table'] == answers.TRAINED
    stock = one[one['photos'] == 'stock']['covering'].to_numpy()
    for seed, points in ((0, 0.010), (1, 0.011)):
        chosen = own & (study.segments['photos'] == 'sapd') & (study.segments['seed'] == seed)
        study.segments.loc[chosen, 'covering'] = stock + points
    ssim, covering = answers.beyond(study)
    assert (
        ssim
        == 'SSIM of students with masks of the clean photo, over stock: a trained student **+0.0100 ± 0.0020** (5 seeds).'
    )
    assert covering.endswith(
        'with SGR minus stock: +1.05 ± 0.64 points (2 seeds). +0.5, which we looked for, is reached.'
    )


def test_the_picture_shows_masks_and_students_that_have_several_seeds(study, tmp_path):
    frame = answers.differences(study)
    assert frame['panel'].nunique() == 1
    assert len(frame) == len(answers.TASKS) * len(answers.MASKS)
    frame = answers.differences(measured(study, {'student_clean': 0.05, 'as_added': -0.05}))
    students = frame[frame['panel'] == answers.PANELS[1]]
    assert students['row'].tolist() == ['masks, over stock', 'sapd add, over stock']
    assert students['mean'].tolist() == pytest.approx([0.05, -0.05])
    assert [pictures._style(row)[0] for row in students.to_dict('records')] == [
        'interval above zero',
        'interval below zero',
    ]
    pictures.draw(tmp_path / 'answer.png', frame)
    assert pictures.is_current(tmp_path / 'answer.png', frame)
    assert not pictures.is_current(tmp_path / 'answer.png', frame.assign(group='another'))
    axes = pictures.grouped(frame).axes
    assert [each.get_title() for each in axes] == list(answers.PANELS)
    assert [each.get_text() for each in axes[1].texts] == ['+0.050 ± 0.002', '\N{MINUS SIGN}0.050 ± 0.004']


def test_every_trial_of_masks_is_in_the_answer():
    assert set(Study(build.FOLDER / 'results').trials) == set(answers.TASKS)
