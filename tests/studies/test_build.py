"""The study's page: every number comes from the CSVs, and the page and its figures agree with them."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t

from sapd_plugin.errors import SAPDError
from studies.sam_priors import build
from studies.sam_priors.measurements import Study, summarise, text
from tests.photos import ROOT

RESULTS = build.FOLDER / 'results'
PLACE = ('mini_derain', 'NAFNet-w8', 'Rain100L')


@pytest.fixture
def results(tmp_path):
    """A copy of the study's CSVs and figures."""
    return shutil.copytree(RESULTS, tmp_path / 'results')


def run(results, *arguments):
    return build.main(['--results', str(results), '--page', str(results.parent / 'README.md'), *arguments])


def edit(path, change):
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    change(frame).to_csv(path, index=False, lineterminator='\n')


def set_value(metric, value, **place):
    """Return a change that sets one arm's values of ``Rain100L``, by seed."""

    def change(frame):
        chosen = (frame[['table', 'model', 'test']] == PLACE).all(axis=1) & (frame['metric'] == metric)
        for key, wanted in place.items():
            chosen &= frame[key] == wanted
        assert chosen.any()
        return frame.assign(value=frame['value'].where(~chosen, value))

    return change


def test_the_committed_page_and_figures_agree_with_the_committed_csvs(capsys):
    assert build.main(['--check']) == 0, capsys.readouterr().out


def test_no_measured_number_is_typed_in_the_templates_and_sentences():
    templates = ''.join(path.read_text(encoding='utf-8') for path in build.FOLDER.glob('*.md.j2'))
    prose = re.sub(r'{{.*?}}|{%.*?%}|```.*?```', '', templates, flags=re.DOTALL)
    assert templates.count('{{') > 50
    assert not re.findall(r'\d\s*dB|\d\.\d|±\s*\d', prose)
    sentences = (build.FOLDER / 'answers.py').read_text(encoding='utf-8')
    assert not re.findall(r'\d\s*dB|\d (?:points|seeds|tasks)|±\s*\d', sentences)


def test_the_page_opens_with_the_second_study_and_its_picture():
    page = (build.FOLDER / 'README.md').read_text(encoding='utf-8')
    order = [
        '## Answer',
        '(results/answer.png)',
        '## The second study',
        '## The first study',
        '## Limits',
        '## Reproduce',
    ]
    places = [page.index(f'\n{each}' if each.startswith('#') else each) for each in order]
    assert places == sorted(places)
    assert page.index('(results/first_study.png)') > places[3]


@pytest.mark.parametrize(
    'number', [r'[+-]?\d+\.\d{3} ± \d+\.\d{3}', r'[+-]\d+\.\d{3} \[[+-]\d+\.\d{3}, [+-]\d+\.\d{3}\]']
)
def test_the_readme_quotes_no_number_that_the_page_does_not_have(number):
    page, readme = (
        ' '.join(folder.joinpath('README.md').read_text(encoding='utf-8').split()) for folder in (build.FOLDER, ROOT)
    )
    quoted = re.findall(number, readme)
    assert len(quoted) >= 4
    assert not [each for each in quoted if each not in page]


def test_what_no_longer_agrees_is_found_and_written(results, capsys):
    assert run(results, '--check') == 1
    assert not (results.parent / 'README.md').exists()
    assert run(results) == run(results, '--check') == 0
    page = results.parent / 'README.md'
    good = page.read_text(encoding='utf-8')
    page.write_text(good.replace('-0.010 ± 0.137', '-0.010 ± 0.037'), encoding='utf-8')
    assert run(results, '--check') == 1
    assert run(results) == 0
    assert page.read_text(encoding='utf-8') == good
    (results / 'answer.png').unlink()
    capsys.readouterr()
    assert run(results, '--check') == 1
    assert capsys.readouterr().out.splitlines() == [f'{results / "answer.png"}: would change']
    run(results)
    edit(results / 'cells.csv', set_value('psnr', '31.5', arm='spd_sgr', seed='1'))
    assert run(results, '--check') == 1
    changed = [line.split(':')[0].rsplit('/', 1)[1] for line in capsys.readouterr().out.splitlines()[-3:]]
    assert changed == ['README.md', 'first_study.png', 'gains_mini_derain.png']


def test_differences_are_paired_by_seed(results):
    for arm, values in (('stock', '30.0 30.2 30.1'), ('spd', '30.3 30.4 30.6')):
        for seed, value in enumerate(values.split()):
            edit(results / 'cells.csv', set_value('psnr', value, arm=arm, seed=str(seed)))
    gaps = np.array([0.3, 0.2, 0.5])
    half = t.ppf(0.975, 2) * gaps.std(ddof=1) / 3**0.5
    found = Study(results).difference('spd', 'stock').loc[PLACE]
    assert (found['mean'], found['half'], found['count']) == pytest.approx((gaps.mean(), half, 3))
    edit(
        results / 'cells.csv',
        lambda frame: frame.drop(frame.query("table == 'mini_derain' and arm == 'spd' and seed == '0'").index),
    )
    assert Study(results).over(*PLACE, 'spd', 'stock') == '+0.350 ± 1.906'


def test_intervals_that_exclude_zero_are_bold():
    values = pd.Series([1.0, 1.1, 0.0, 0.1, 0.5], pd.MultiIndex.from_arrays([list('aabbc')], names=['arm']))
    rows = summarise(values, ['arm']).apply(text, axis=1, bold=True)
    assert rows.tolist() == ['**+1.050 ± 0.635**', '+0.050 ± 0.635', '+0.500']
    assert text({'mean': -1e-9, 'half': float('nan')}) == '0.000'


def test_arms_of_another_length_have_no_gain_but_are_compared_where_asked():
    study = Study(RESULTS)
    arms = study.arms('mini_derain').query("model == 'NAFNet-w8'").set_index('arm')
    assert not arms['comparable'][['stock', 'stock_longer', 'pretraining']].any()
    assert arms['comparable'][['spd', 'cascade', 'shuffled']].all()
    assert set(build.gains(study, 'mini_derain')['arm']).isdisjoint({'stock_longer', 'pretraining'})
    assert study.gain(*PLACE, 'stock_longer').startswith('-1.388 ')


def test_what_was_not_measured_is_no_number():
    study = Study(RESULTS)
    assert study.over('mini_derain', 'HINet-w8', 'Rain100L', 'spd_sgr', 'cascade') == ''
    with pytest.raises(
        SAPDError, match='found no seed of mini_derain, HINet-w8, Rain100L with both spd_sgr and cascade'
    ):
        study.gain('mini_derain', 'HINet-w8', 'Rain100L', 'cascade')


@pytest.mark.parametrize(
    ('column', 'value', 'message'),
    [
        ('images', '99', 'mini_derain, Rain100L has several values of images'),
        ('protocol', 'rgb', 'mini_derain, Rain100L has several values of protocol'),
        ('iterations', '900', 'mini_derain, NAFNet-w8, spd has several values of iterations'),
        ('framework', 'mmagic', 'mini_derain, NAFNet-w8 has several values of framework'),
        ('value', 'nan', "value: found 'nan', expected a finite number"),
        ('value', '', "value: found '', expected a finite number"),
        ('seed', 'one', "seed: found 'one', expected a finite number"),
    ],
)
def test_numbers_that_cannot_be_compared_are_refused(results, capsys, column, value, message):
    def change(frame):
        row = frame.query(
            "table == 'mini_derain' and model == 'NAFNet-w8' and arm == 'spd' and test == 'Rain100L'"
        ).index[0]
        frame.loc[row, column] = value
        return frame

    edit(results / 'cells.csv', change)
    assert run(results) == 2
    error = capsys.readouterr().err
    assert f'{results / "cells.csv"}' in error
    assert message in error
    assert not (results.parent / 'README.md').exists()


@pytest.mark.parametrize(
    ('name', 'change', 'message'),
    [
        ('teacher', lambda lines: [lines[0].replace('psnr_z,', 'psnr_x,'), *lines[1:]], 'found no column psnr_z'),
        ('ceiling', lambda lines: [*lines, 'alone,9,30.1'], 'line 11: found 3 values, expected 8'),
        ('segmentation', lambda lines: [*lines, lines[1]], 'line 402: found .* again, expected it once'),
        ('ideas', lambda lines: [lines[0].replace('kept', 'keep'), *lines[1:]], 'found no column kept'),
        ('ceiling', lambda lines: [*lines[:-1], lines[-1].replace(',1000,', ',500,')], 'several teachers, iterations'),
        ('teacher', lambda lines: [], 'found no line'),
        ('setting', None, 'found no file'),
    ],
)
def test_a_broken_csv_is_refused_by_name(results, capsys, name, change, message):
    path = results / f'{name}.csv'
    lines = path.read_text(encoding='utf-8').splitlines()
    path.unlink()
    if change is not None:
        path.write_text('\n'.join(change(lines)) + '\n', encoding='utf-8')
    assert run(results) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert re.search(message, error), error


def test_shares_of_the_loss_leave_out_what_trains_the_second_network_alone(results):
    log = '{"training.logged": {"l_pix": 0.02, "l_spf": 9.0, "l_spd": 0.01, "l_sgr": 0.01, "psnr_restored": 30.0, '
    log += '"psnr_refined": 30.25, "steps": 5}}'
    edit(results / 'cells.csv', lambda frame: frame.assign(more=frame['more'].where(frame['arm'] != 'spd_sgr', log)))
    row = Study(results).losses('spd_sgr').iloc[0]
    assert row[['spd', 'sgr', 'ahead']].tolist() == [0.25, 0.25, 0.25]


def test_segmentations_of_several_seeds_have_intervals_over_seeds(results):
    def again(frame):
        second = frame.assign(seed='1', covering=frame['covering'].where(frame['photos'] != 'sapd', '0.9'))
        return pd.concat([frame, second])

    edit(results / 'segmentation.csv', again)
    study = Study(results)
    stock, sapd = (
        study.segments.query(f"photos == '{name}'").groupby('seed')['covering'].mean() for name in ('stock', 'sapd')
    )
    gaps = (sapd - stock).to_numpy()
    half = t.ppf(0.975, 1) * gaps.std(ddof=1) / 2**0.5
    shown = study.segmentation('mini_derain').set_index('photos')['covering']
    assert shown['sapd minus stock'] == f'{gaps.mean():+.3f} ± {half:.3f}'
    assert shown['sapd'] == f'{sapd.mean():.3f}'
    assert study.segmentation('mini_denoise').empty


@pytest.mark.parametrize(
    ('mean', 'half', 'words'),
    [
        (0.00021, 0.00003, '**+0.00021 ± 0.00003**'),
        (0.0002, 0.00012, '**+0.0002 ± 0.0001**'),
        (0.0002, 1e-17, '**+0.0002 in each seed**'),
        (0.0, 0.0, '0.0000 ± 0.0000'),
        (0.0002, float('nan'), '+0.0002'),
    ],
)
def test_a_half_width_is_not_rounded_to_zero(mean, half, words):
    assert text({'mean': mean, 'half': half}, 4, bold=True) == words
