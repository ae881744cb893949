"""The study's document: every number of its blocks and figures comes from the CSVs."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments import collected_images
from sapd_plugin.experiments.collected import write
from sapd_plugin.experiments.statistics import estimate
from studies.sam_priors import study
from studies.sam_priors.study_report.blocks import KINDS, make_block
from studies.sam_priors.study_report.documents import fill
from studies.sam_priors.study_report.measured import UNMEASURED
from tests.studies.study_recipes import arms, made_up

ROOT = Path(__file__).parents[2]
STOCK, SPD, FALSE = [30.0, 30.2, 30.1], [30.3, 30.4, 30.5], [30.1, 30.1, 30.2]
GAIN = estimate(list(np.subtract(SPD, STOCK)))
DOCUMENT = """# A study
It gains <!-- study: value mini_derain RCAN spd stock val psnr --><!-- end --> here.

<!-- study: gains mini_derain RCAN -->
<!-- end -->

<!-- study: figure mini_derain -->
<!-- end -->
"""


@pytest.fixture
def folder(tmp_path):
    """A study with results, a document and a README."""
    path = tmp_path / 'docs/study'
    write(path / 'cells.csv', arms(stock=STOCK, spd=SPD, shuffled=FALSE))
    path.with_suffix('.md').write_text(DOCUMENT)
    (tmp_path / 'README.md').write_text('Gain: <!-- study: seeds mini_derain RCAN spd stock val -->9<!-- end -->.\n')
    return path


def report(folder, *arguments):
    return study.main(['report', '--study', str(folder), *arguments])


def block(words, found=None, folder=Path('nowhere')):
    return make_block(arms(stock=STOCK, spd=SPD, shuffled=FALSE) if found is None else found, folder, words).strip()


def columns(text, start):
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_the_committed_documents_agree_with_the_committed_csvs(capsys):
    assert study.main(['report', '--check']) == 0, capsys.readouterr().out


def test_the_committed_study_has_no_number_of_decibels_outside_blocks():
    text = (ROOT / 'docs/study.md').read_text(encoding='utf-8')
    prose = re.sub(r'<!-- study.*?<!-- end -->', '', text, flags=re.DOTALL)
    assert text.count('<!-- study:') >= 10
    assert not re.findall(r'\d\s*dB|\d\.\d', prose)


def test_gains_are_means_and_paired_differences():
    text = block('gains mini_derain RCAN')
    psnr = f'**+{GAIN.mean:.3f} ± {GAIN.half:.3f}**'
    assert columns(text, '| val | spd ')[:5] == ['val', 'spd', '3', '30.400 ± 0.248', psnr]
    assert columns(text, '| val | stock ')[4] == ''
    assert columns(text, '| val | shuffled ')[4] == '+0.033 ± 0.287'  # not bold: it may be nothing
    assert [line.split('|')[2].strip() for line in text.splitlines()[2:5]] == ['stock', 'shuffled', 'spd']
    assert 'commit `abcdef0`' in text
    assert '300 iterations' in text


def test_differences_are_paired_by_seed():
    found = arms(stock=[30.0, 40.0], spd=[30.5, 40.5, 10.0])
    assert columns(block('gains mini_derain RCAN', found), '| val | spd ')[2:5] == [
        '3, 2 paired',
        '27.000 ± 38.624',
        '**+0.500 ± 0.000**',
    ]


def test_stock_of_another_length_is_compared_only_where_asked():
    longer = [made_up('mini_derain', 'stock_longer', seed, psnr + 0.1, iterations=450) for seed, psnr in enumerate(SPD)]
    found = [*arms(stock=STOCK, spd=SPD), *longer]
    assert columns(block('gains mini_derain RCAN', found), '| val | stock_longer ')[4:] == [
        '',
        '0.3050 ± 0.0025',
        '',
        '450',
    ]
    text = block('against mini_derain RCAN spd stock_longer', found)
    assert columns(text, '| val |')[1:5] == ['3', '30.400 ± 0.248', '30.500 ± 0.248', '**-0.100 ± 0.000**']
    assert 'spd 300 iterations, 12 s in the mean; stock_longer 450 iterations' in text


def test_shares_of_the_loss_are_means_over_seeds():
    log = {'steps': 5, 'l_pix': 0.02, 'l_spf': 9.0, 'psnr_restored': 30.0}
    spd = [{**log, 'l_spd': 0.005, 'psnr_refined': 30.1}, {**log, 'l_spd': 0.0, 'psnr_refined': 30.4}]
    both = {**log, 'l_spd': 0.01, 'l_sgr': 0.02, 'psnr_refined': 29.9}
    found = [made_up('mini_derain', 'spd', seed, 30.0, logged=one) for seed, one in enumerate(spd)]
    found += [made_up('mini_derain', 'spd_sgr', 0, 30.0, logged=both), made_up('mini_derain', 'stock', 0, 30.0)]
    found += [made_up('mini_derain', 'shuffled', 0, 30.0, logged={'steps': 0})]  # too short for a line in its log
    text = block('losses', found)
    assert columns(text, '| mini_derain | RCAN | spd |')[3:] == ['2', '0.1', '', '+0.250']
    assert columns(text, '| mini_derain | RCAN | spd_sgr ')[3:] == ['1', '0.2', '0.4', '-0.100']
    assert 'stock' not in text
    assert 'shuffled' not in text
    assert block('losses mini_deblur', found).strip() == UNMEASURED


def test_values_stand_in_a_sentence():
    assert make_block(arms(stock=STOCK, spd=SPD), Path(), 'value mini_derain RCAN spd stock val psnr') == (
        f'+{GAIN.mean:.3f} ± {GAIN.half:.3f} dB'
    )
    assert block('value mini_derain RCAN shuffled spd val ssim').startswith('-0.0027 ± 0.00')
    assert block('mean mini_derain RCAN spd val psnr') == '30.400 ± 0.248 dB'
    assert block('seeds mini_derain RCAN spd stock val') == '3'
    assert block('value mini_derain RCAN spd stock val psnr', arms(stock=[1.0], spd=[0.9999])) == '0.000 dB (one seed)'


WORDS = {
    'TABLE': 'mini_x',
    'MODEL': 'RCAN',
    'ARM': 'spd',
    'BASE': 'stock',
    'TEST': 'val',
    'METRIC': 'psnr',
    'WEIGHT': '1',
    'NAME': 'nothing',
}


@pytest.mark.parametrize('name', KINDS)
def test_what_is_not_measured_is_never_a_number(name, tmp_path):
    words = ' '.join([name, *(WORDS[argument] for argument in KINDS[name].arguments)])
    assert block(words, [], tmp_path) == UNMEASURED
    if 'TABLE' in KINDS[name].arguments:
        assert block(words, arms(stock=STOCK, spd=SPD), tmp_path) == UNMEASURED


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        ('gain mini_derain RCAN', "found 'gain', expected one of .* Did you mean 'gains'"),
        ('gains mini_derain', "found 'gains mini_derain', expected 'gains TABLE MODEL'"),
        ('gains mini_derain RCAN spd', "expected 'gains TABLE MODEL'"),
        ('value mini_derain RCAN spd stock val psmr', "METRIC: found 'psmr'.* Did you mean 'psnr'"),
    ],
)
def test_unknown_blocks_are_refused(words, message):
    with pytest.raises(SAPDError, match=message):
        block(words)


def test_what_cannot_be_compared_is_refused():
    found = arms(stock=STOCK, spd=SPD)
    found[-1].tests['val']['images'] = 2
    with pytest.raises(SAPDError, match='val: images 3 and 2 cannot be compared'):
        block('gains mini_derain RCAN', found)
    found = [*arms(stock=STOCK), made_up('mini_derain', 'stock', 3, 30.0, iterations=400)]
    with pytest.raises(SAPDError, match='arm stock: seeds with iterations 300 and 400'):
        block('mean mini_derain RCAN stock val psnr', found)
    found = [*arms(stock=STOCK), made_up('mini_derain', 'stock', 0, 20.0, framework='mmagic')]
    with pytest.raises(SAPDError, match='name one of RCAN/tiny/basicsr, RCAN/tiny/mmagic'):
        block('mean mini_derain RCAN stock val psnr', found)
    assert block('mean mini_derain RCAN/tiny/mmagic stock val psnr', found) == '20.000 dB (one seed)'


def test_cost_sets_stock_beside_sapd():
    found = arms(stock=STOCK, spd=SPD)
    found[4].cost['over_stock'] = 1.02
    text = block('cost', found)
    assert columns(text, '| RCAN tiny, basicsr | stock')[2:7] == ['3', '1,234', '0.006', '250.1', '']
    assert columns(text, '| RCAN tiny, basicsr | SAPD')[5:] == ['250.1', '1.02 x', '3', '1x3x256x256, cpu, 1 threads']


def test_settings_name_commits_versions_and_lengths():
    found = [*arms(stock=STOCK, spd=SPD), made_up('mini_x', 'stock', 0, 1.0, iterations=4000)]
    text = block('settings', found)
    assert columns(text, '| mini_derain | RCAN tiny, basicsr | spd')[3:7] == [
        '0, 1, 2',
        '300 (shortened)',
        '',
        'sam fast, restored',
    ]
    assert '4,000 (shortened)' in text
    assert '`abcdef0123456789` (7 cells). Packages: torch 2.5.1, basicsr 1.4.2.' in text
    assert 'mini_x' not in block('settings mini_derain', found)


def test_ideas_are_set_beside_what_was_measured(tmp_path):
    (tmp_path / 'ideas.csv').write_text(
        'idea,expectation,arm,kept,why\n"A, b",more,spd,no,no | gain\nC,,later,,\nD,nothing,,no,not tried\n'
    )
    text = block('ideas', arms('mini_explore', stock=STOCK, spd=SPD), tmp_path)
    measured = f'+{GAIN.mean:.3f} ± {GAIN.half:.3f} dB (3 seeds)'
    assert f'| A, b | more | spd | {measured} | no | no \\| gain |' in text
    assert f'| C |  | later | {UNMEASURED} |  |  |' in text
    assert '| D | nothing |  |  | no | not tried |' in text
    (tmp_path / 'ideas.csv').write_text('idea,expectation,arm,keep,why\n')
    with pytest.raises(SAPDError, match='has no column kept'):
        block('ideas', [], tmp_path)


def test_the_teacher_is_averaged_over_images_then_seeds(tmp_path):
    head = 'table,model,arm,seed,image,kind,psnr_y,psnr_z,share,commit\n'
    lines = ['0,a,edge,20,21,0.5', '0,b,edge,30,33,0.5', '1,a,edge,22,26,0.5', '1,b,edge,nan,99,0', '1,b,flat,40,41,1']
    path = tmp_path / 'teacher.csv'
    path.write_text(head + ''.join(f'mini_derain,RCAN,spd,{line},abc\n' for line in lines))
    text = block('teacher', [], tmp_path)
    expected = estimate([2.0, 4.0])
    assert columns(text, '| mini_derain | RCAN | spd | edge ') == [
        *('mini_derain', 'RCAN', 'spd', 'edge', '2', '2', '23.5', '44.75', '0.375'),
        f'+{expected.mean:.3f} ± {expected.half:.3f}',
    ]
    assert 'At commit `abc`.' in text
    assert '| edge ' not in block('teacher flat', [], tmp_path)
    with pytest.raises(SAPDError, match="unknown key 'flad'.* Did you mean 'flat'"):
        block('teacher flad', [], tmp_path)
    path.write_text(path.read_text().replace(',20,', ',inf,'))
    with pytest.raises(SAPDError, match="psnr_y: found 'inf', expected a finite number"):
        block('teacher', [], tmp_path)


def test_a_sheet_is_printed_as_it_is(tmp_path):
    (tmp_path / 'segmentation.csv').write_text('arm,images,covering,command\nspd,20,0.70551234,do it\n')
    text = block('sheet segmentation', [], tmp_path)
    assert text.startswith('| arm | images | covering |\n| --- | --- | --- |\n| spd | 20 | 0.7055 |')
    assert 'Measured by `do it`.' in text


def test_the_ceiling_is_paired_by_seed(tmp_path):
    head = 'weight,seed,psnr,psnr_teacher,iterations,images,command,commit\n'
    lines = ['0,0,29.5', '1,0,29.6', '0,1,29.3', '1,1,29.6', 'alone,0,29.4']
    path = tmp_path / 'ceiling.csv'
    path.write_text(head + ''.join(f'{line},31.42,600,40,do it,abc\n' for line in lines))
    gain = estimate([0.1, 0.3])
    text = block('ceiling', [], tmp_path)
    assert columns(text, '| 1 |') == ['1', '2', '29.600 ± 0.000', f'+{gain.mean:.3f} ± {gain.half:.3f}']
    assert columns(text, '| alone |')[3] == '-0.100'
    assert columns(text, '| 0 |')[3] == ''
    assert 'The teacher has 31.42 dB; 40 validation photos' in text
    assert block('ceiling_value 1', [], tmp_path) == f'+{gain.mean:.3f} ± {gain.half:.3f} dB'
    path.write_text(path.read_text() + '1,2,29.6,31.42,500,40,do it,abc\n')
    with pytest.raises(SAPDError, match='runs of 2 settings'):
        block('ceiling', [], tmp_path)


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('\n<!-- study: a -->', "found no '<!-- end -->' after '<!-- study: a -->'"),
        ('<!-- study: a -->\n<!-- study: b --><!-- end -->', 'x line 2: .* before the'),
        ('<!-- end -->', 'x line 1: .* without'),
        ('<!-- study a --><!-- end -->', "expected '<!-- study: NAME ARGUMENTS -->'"),
    ],
)
def test_markers_without_their_other_half_are_refused(text, message):
    with pytest.raises(SAPDError, match=message):
        fill(text, lambda words: '', 'x')


def test_only_what_stands_between_markers_changes():
    text = 'a <!-- other --> <!--study:  x  y -->old\n\nold<!--end--> b\n'
    assert fill(text, str.upper, 'x') == 'a <!-- other --> <!--study:  x  y -->X Y<!--end--> b\n'


def test_a_report_writes_documents_and_figures_and_the_check_holds(folder, capsys):
    assert report(folder, '--check') == 1
    assert folder.with_suffix('.md').read_text() == DOCUMENT
    assert not list(folder.glob('*.png'))
    assert report(folder) == 0
    text = folder.with_suffix('.md').read_text()
    assert (
        f'It gains <!-- study: value mini_derain RCAN spd stock val psnr -->+{GAIN.mean:.3f} ± 0.248 dB<!-- end --> here.'
        in text
    )
    assert '-->3<!-- end -->.' in (folder.parents[1] / 'README.md').read_text()
    assert '![Gains over stock, mini_derain](study/gains_mini_derain.png)' in text
    capsys.readouterr()
    assert report(folder, '--check') == 0
    assert report(folder) == 0
    assert capsys.readouterr().out == ''  # nothing to write


def test_a_changed_number_a_typed_one_and_a_lost_figure_are_found(folder):
    report(folder)
    document, figure = folder.with_suffix('.md'), folder / 'gains_mini_derain.png'
    good = document.read_text()
    document.write_text(good.replace('| 30.400 ', '| 31.400 '))
    assert report(folder, '--check') == 1
    document.write_text(good)
    figure.unlink()
    assert report(folder, '--check') == 1
    report(folder)
    assert report(folder, '--check') == 0
    write(folder / 'cells.csv', arms(stock=STOCK, spd=[30.3, 30.4, 30.6], shuffled=FALSE))
    before = figure.read_bytes()
    assert report(folder, '--check') == 1
    report(folder)
    assert figure.read_bytes() != before
    write(folder / 'cells.csv', arms('mini_other', stock=STOCK, spd=SPD))
    assert report(folder, '--check') == 1
    report(folder)
    assert [path.name for path in folder.glob('*.png')] == ['gains_mini_other.png']
    assert UNMEASURED in document.read_text()


def test_a_mistake_in_one_document_leaves_all_as_they_were(folder, capsys):
    (folder.parents[1] / 'README.md').write_text('<!-- study: claim --><!-- end -->')
    assert report(folder) == 2
    assert "README.md line 1: study: found 'claim'" in capsys.readouterr().err
    assert folder.with_suffix('.md').read_text() == DOCUMENT


def test_a_figure_has_a_panel_a_test_set_and_says_what_it_shows(folder):
    tests = ('val', 'Rain100L')
    found = [
        made_up('mini_two', arm, seed, psnr, model=model, tests=tests)
        for model in ('RCAN', 'NAFNet')
        for arm, values in {'stock': STOCK, 'spd': SPD, 'shuffled': FALSE[:1]}.items()
        for seed, psnr in enumerate(values)
    ]
    write(folder / 'cells.csv', [*arms(stock=STOCK, spd=SPD), *found])
    assert report(folder) == 0
    sizes = {}
    for name in ('derain', 'two'):
        with Image.open(folder / f'gains_mini_{name}.png') as image:
            sizes[name] = image.size
            assert 'commit `abcdef0`' in image.info['Description']
    assert sizes['two'][0] > 1.3 * sizes['derain'][0]


def test_teachers_are_collected_into_their_csv(folder, tmp_path, monkeypatch):
    runs = tmp_path / 'runs'
    head = 'image,kind,pixels,psnr_y,psnr_z,rmse_y_z,rmse_y_target\n'
    for seed, z in ((0, '31.0'), (1, '32.0')):
        (results,) = arms(spd=[30.5])
        place = Path('basicsr/mini_derain/RCAN/tiny/spd') / str(seed)
        results.save(runs / place)
        (runs / place / 'teacher').mkdir()
        (runs / place / 'teacher/teacher.csv').write_text(f'{head}a,whole,9,30.5,{z},1,2\nb,whole,9,30.5,{z},1,2\n')
    command = ['collect', '--output', str(runs), '--study', str(folder)]
    assert study.main(command) == 0
    before = (folder / 'teacher.csv').read_text()
    monkeypatch.setattr(collected_images, 'made_with', lambda: {'commit': 'another'})
    assert study.main(command) == 0  # nothing was measured anew: at the same commit as before
    assert (folder / 'teacher.csv').read_text() == before
    shutil.rmtree(runs / 'basicsr/mini_derain/RCAN/tiny/spd/1')  # what is in the CSV stays
    path = runs / 'basicsr/mini_derain/RCAN/tiny/spd/0/teacher/teacher.csv'
    path.write_text(path.read_text().replace('31.0', '33.0'))
    assert study.main(command) == 0
    rows = (folder / 'teacher.csv').read_text().splitlines()
    assert len(rows) == 1 + 4
    assert ['another' in row for row in rows[1:]] == [True, True, False, False]
    text = block('teacher', [], folder)
    assert columns(text, '| mini_derain ')[-4:] == [
        f'+{estimate([2.5, 1.5]).mean:.3f} ± {estimate([2.5, 1.5]).half:.3f}',
        '',
        '',
        '',
    ]


def test_segmentations_are_collected_and_compared_with_those_of_stock(folder, tmp_path):
    runs = tmp_path / 'runs'
    for seed, (stock, sapd) in enumerate([(0.5, 0.6), (0.5, 0.8)]):
        (results,) = arms(spd=[30.5])
        place = runs / f'basicsr/mini_derain/RCAN/tiny/spd/{seed}'
        results.save(place)
        (place / 'segmentation/Rain100L').mkdir(parents=True)
        lines = [
            f'{image},{arm},{value + step},12'
            for image, step in (('a', 0.0), ('b', 0.1))
            for arm, value in {'sapd': sapd, 'stock': stock, 'degraded': 0.25}.items()
        ]
        text = '\n'.join(['image,arm,covering,masks', *lines, 'a,clean,,14', 'b,clean,,14'])
        (place / 'segmentation/Rain100L/images.csv').write_text(f'{text}\n')
    command = ['collect', '--output', str(runs), '--study', str(folder)]
    assert block('segmentation', [], folder).strip() == UNMEASURED
    assert study.main(command) == 0
    assert len((folder / 'segmentation.csv').read_text().splitlines()) == 1 + 2 * 8
    table = [line for line in block('segmentation', [], folder).splitlines() if line.startswith('| basicsr ')]
    cells = [[cell.strip() for cell in line.strip('|').split('|')][6:] for line in table]
    gap = estimate([0.1, 0.3])
    assert cells == [
        ['degraded', '2', '', '0.300', '12.0'],
        ['stock', '2', '', '0.550', '12.0'],
        ['sapd', '2', '', '0.750', '12.0'],
        ['clean', '2', '', '', '14.0'],
        ['sapd less stock', '2', '2', f'+0.200 ± {gap.half:.3f}', '0.0 ± 0.0'],
    ]
    # Of a single seed the interval is over images: 0.1 and 0.1 more.
    rows = (folder / 'segmentation.csv').read_text().splitlines()
    (folder / 'segmentation.csv').write_text('\n'.join(row for row in rows if ',spd,1,' not in row) + '\n')
    assert '| sapd less stock | 2 | 1 | +0.100 ± 0.000 |' in block('segmentation', [], folder)
    path = runs / 'basicsr/mini_derain/RCAN/tiny/spd/0/segmentation/Rain100L/images.csv'
    path.write_text(path.read_text().replace('covering', 'cover'))
    assert study.main(command) == 2


def test_results_are_collected_into_the_csv(folder, tmp_path, capsys):
    runs = tmp_path / 'runs'
    for results in [*arms(spd=[31.3, 31.4, 31.5]), *arms('rain100l', stock=STOCK)]:
        results.save(results.cell.folder(runs))
    assert study.main(['collect', '--output', str(runs), '--study', str(folder)]) == 0
    assert '3 cells, 0 of them new' in capsys.readouterr().out
    text = (folder / 'cells.csv').read_text()
    assert 'rain100l' not in text
    assert ',31.3,' in text
    assert ',30.3,' not in text
    assert len(text.splitlines()) == 1 + 9 * 2
    shutil.rmtree(runs)
    assert study.main(['collect', '--output', str(runs), '--study', str(folder)]) == 2
