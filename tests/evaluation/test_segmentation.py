"""The evaluation of segmentation, as a user runs it, with the segmenter that needs no weights."""

from __future__ import annotations

import re
import shutil

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from sapd_plugin.cli import evaluate_segmentation
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.agreement import AGREEMENT, PEOPLE, against_clean
from sapd_plugin.evaluation.arms import match_names
from sapd_plugin.evaluation.statistics import BOUNDS, Interval, difference, markdown
from sapd_plugin.priors.extraction.images import read_image
from sapd_plugin.priors.segmenters import build_segmenter
from sapd_plugin.priors.store import MaskStore
from tests.photos import make_pairs


@pytest.fixture
def pairs(tmp_path):
    """Four rainy and clean photos, and 'restored' ones: half of the rain, and less, named as BasicSR's test does."""
    folder = make_pairs(tmp_path / 'data', 4, (96, 128))
    for arm, share, name in (('stock', 0.5, '{}_stock.png'), ('sapd', 0.25, '{}.png')):
        (folder / arm).mkdir()
        for clean in sorted((folder / 'clean').glob('*.png')):
            images = [cv2.imread(str(folder / kind / clean.name)).astype(float) for kind in ('clean', 'rainy')]
            restored = (1 - share) * images[0] + share * images[1]
            cv2.imwrite(str(folder / arm / name.format(clean.stem)), restored.round().astype(np.uint8))
    return folder


def run(pairs, *more, arms=('stock', 'sapd')):
    restored = [f'{arm}={pairs / arm}' for arm in arms]
    fixed = ['--clean', str(pairs / 'clean'), '--segmenter', 'felzenszwalb', '--output', str(pairs.parent / 'out')]
    return evaluate_segmentation.main([*fixed, '--restored', *restored, *more])


def read_table(path, *index):
    return pd.read_csv(path, dtype={'image': str}).set_index(list(index))


def test_tables_sheet_and_stores(pairs, capsys):
    assert run(pairs, '--degraded', str(pairs / 'rainy'), '--sheet', '2') == 0
    out = pairs.parent / 'out'
    printed = capsys.readouterr().out
    table = (out / 'table.md').read_text(encoding='utf-8')
    assert table.strip() in printed
    assert 'Paired differences to stock:' in table
    assert '4 images; mean [95 % confidence interval over the images]' in table
    assert [line.split('|')[1].strip() for line in table.splitlines()[2:5]] == ['degraded', 'stock', 'sapd']

    # Compute each figure again from the images themselves.
    segmenter = build_segmenter('felzenszwalb')
    images = read_table(out / 'images.csv', 'image', 'arm')
    assert len(images) == 4 * 4
    for (key, arm), row in images.iterrows():
        if arm in ('stock', 'degraded'):
            path = pairs / 'stock' / f'{key}_stock.png' if arm == 'stock' else pairs / 'rainy' / f'{key}.png'
            masks = [segmenter(read_image(p)).labels for p in (path, pairs / 'clean' / f'{key}.png')]
            for measure, value in against_clean(*masks).items():
                assert row[measure] == pytest.approx(value)
    sums = read_table(out / 'table.csv', 'arm', 'measure')
    stock, sapd = (images['mIoU'].xs(arm, level='arm') for arm in ('stock', 'sapd'))
    row, paired = sums.loc['sapd', 'mIoU'], stats.ttest_rel(sapd, stock).confidence_interval()
    assert row['mean'] == pytest.approx(sapd.mean())
    assert row['minus stock'] == pytest.approx(sapd.mean() - stock.mean())
    assert (row['difference low'], row['difference high']) == pytest.approx((paired.low, paired.high))
    assert np.isnan(sums.loc['stock', 'mIoU']['minus stock'])
    assert ('clean', 'mIoU') not in sums.index

    sheet = read_image(out / 'sheet.png')
    assert sheet.shape == (4 * (240 + 18), 4 * 320, 3)
    assert MaskStore(out / 'masks/stock').keys() == ['001', '002', '003', '004']
    assert MaskStore(out / 'masks/stock').settings['source'] == 'restored'


def test_a_second_run_resumes_and_takes_more_arms(pairs, capsys, monkeypatch):
    assert run(pairs, '--limit', '2', arms=['stock']) == 0
    cut = []
    segment = evaluate_segmentation.build_from_options

    def counting(*arguments):
        segmenter = segment(*arguments)
        made = type(segmenter).__call__
        monkeypatch.setattr(type(segmenter), '__call__', lambda self, image: cut.append(1) or made(self, image))
        return segmenter

    monkeypatch.setattr(evaluate_segmentation, 'build_from_options', counting)
    assert run(pairs) == 0
    assert len(cut) == 2 + 4 + 2  # stock, sapd, clean
    first = (pairs.parent / 'out/table.md').read_text(encoding='utf-8')
    cut.clear()
    assert run(pairs) == 0
    assert not cut
    assert (pairs.parent / 'out/table.md').read_text(encoding='utf-8') == first


def test_an_interrupted_run_resumes(pairs, monkeypatch, capsys):
    class Stopping:
        settings = build_segmenter('felzenszwalb').settings
        left = 3

        def __call__(self, image):
            Stopping.left -= 1
            if Stopping.left < 0:
                raise KeyboardInterrupt
            return build_segmenter('felzenszwalb')(image)

    with monkeypatch.context() as patch:
        patch.setattr(evaluate_segmentation, 'build_from_options', lambda *_: Stopping())
        assert run(pairs) == 130
    assert 'rerun the same command to resume' in capsys.readouterr().err
    assert len(MaskStore(pairs.parent / 'out/masks/stock')) == 3
    assert run(pairs) == 0


def test_masks_of_other_images_are_not_taken(pairs, capsys):
    assert run(pairs, arms=['stock']) == 0
    image = pairs / 'stock/002_stock.png'
    cv2.imwrite(str(image), 255 - cv2.imread(str(image)))
    assert run(pairs, arms=['stock']) == 2
    assert 'stock: found 1 images that differ from those segmented in' in capsys.readouterr().err


def test_people_and_the_clean_images(calibration_data, tmp_path, capsys):
    folder = calibration_data / 'rain100l'
    people = ['--human', str(calibration_data / 'segmentation_gt'), '--human-set', 'rain100l', '--sheet', '0']
    people += ['--limit', '2']
    arms = ['--restored', f'none={folder / "rainy"}', '--segmenter', 'felzenszwalb', '--output', str(tmp_path / 'out')]
    assert evaluate_segmentation.main(['--clean', str(folder / 'clean'), *arms, *people]) == 0
    sums = read_table(tmp_path / 'out/table.csv', 'arm', 'measure')['mean']
    for arm in ('none', 'clean'):
        assert 0.2 < sums[arm, 'human mean'] < sums[arm, 'human best'] < 0.8
    assert '| clean |' in (tmp_path / 'out/table.md').read_text(encoding='utf-8')
    assert not (tmp_path / 'out/sheet.png').exists()


def test_mmagics_pictures_side_by_side(pairs, capsys):
    """As MMagic's own visualizer saves them, with its default settings."""
    visualization = pytest.importorskip('mmagic.visualization')
    from mmagic.structures import DataSample

    (pairs / 'mmagic').mkdir()
    visualizer = visualization.ConcatImageVisualizer(
        'gt_path',
        ['gt_img', 'input', 'pred_img'],
        bgr2rgb=True,
        vis_backends=[{'type': 'mmagic.VisBackend', 'img_save_dir': ''}],
        save_dir=str(pairs / 'mmagic'),
    )
    for clean in sorted((pairs / 'clean').glob('*.png')):
        sample, output = DataSample(metainfo={'gt_path': str(clean)}), DataSample()
        images = [cv2.imread(str(p)) for p in (clean, pairs / 'rainy' / clean.name, pairs / 'sapd' / clean.name)]
        gt, degraded, restored = (torch.from_numpy(image).permute(2, 0, 1) for image in images)
        sample.set_tensor_data({'gt_img': gt, 'input': degraded})
        output.set_tensor_data({'pred_img': restored})
        sample.output = output
        visualizer.add_datasample(sample, step=0)
    shutil.move(pairs / 'mmagic/vis_data', pairs / 'shown')

    assert run(pairs, arms=['sapd', 'shown']) == 2
    message = capsys.readouterr().err
    assert 'of 96x384, expected 96x128' in message
    assert 'add --side-by-side' in message
    assert run(pairs, '--side-by-side', arms=['sapd', 'shown']) == 0
    sums = read_table(pairs.parent / 'out/table.csv', 'arm', 'measure')
    assert sums.loc['shown', 'mIoU']['minus sapd'] == 0


def test_a_smaller_degraded_image_is_brought_to_size(pairs):
    (pairs / 'small').mkdir()
    for clean in (pairs / 'clean').glob('*.png'):
        cv2.imwrite(str(pairs / 'small' / f'{clean.stem}x4.png'), cv2.imread(str(clean))[::4, ::4])
    assert run(pairs, '--degraded', str(pairs / 'small'), arms=['sapd']) == 0
    assert MaskStore(pairs.parent / 'out/masks/degraded').size('001') == (96, 128)


@pytest.mark.parametrize(
    ('names', 'template', 'expected'),
    [
        (['a', 'b'], None, '{}'),
        (['a_stock', 'b_stock'], None, '{}_stock'),
        (['a_0', 'b_0', 'c_0'], None, '{}_0'),
        (['a', 'b', 'a_1', 'b_1'], None, '{}'),
        (['a_1', 'b_1', 'a_2', 'b_2'], '{}_2', '{}_2'),
        (['a/a_5000', 'b/b_5000'], None, '{0}/{0}_5000'),
        (['a_{x}', 'b_{x}'], None, '{}_{{x}}'),
        (['out-a', 'out-b'], 'out-{}', 'out-{}'),
    ],
)
def test_names(tmp_path, names, template, expected):
    found = {name: tmp_path / f'{name}.png' for name in names}
    assert match_names('stock', found, ['a', 'b'], template) == {
        key: tmp_path / f'{expected.format(key)}.png' for key in ('a', 'b')
    }


@pytest.mark.parametrize(
    ('names', 'template', 'message'),
    [
        (['a_1', 'b_1', 'a_2', 'b_2'], None, r'several images of each name \({}_1, {}_2\), expected --name-template'),
        (['a_stock', 'c_stock'], None, r"no image for 1 of 2 clean images by the names '{}_stock', the first is 'b_"),
        (['x'], None, r"no image for 2 of 2 clean images by the names '{}'"),
        (['a', 'b'], '{}_s', r"no image for 2 of 2 clean images by the names '{}_s', the first is 'a_s'"),
        (['a', 'b'], '{name}', r"--name-template: found '{name}', expected {} in place"),
    ],
)
def test_names_that_do_not_fit(tmp_path, names, template, message):
    with pytest.raises(SAPDError, match=message):
        match_names('stock', {name: tmp_path / name for name in names}, ['a', 'b'], template)


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (['--degraded', 'absent'], '--degraded: found no folder absent'),
        (['--human', 'absent'], '--human: found no .mat file in absent'),
        (['--limit', '0'], '--limit: found 0, expected an integer >= 1'),
        (['--name-template', 'stok={}_1'], "--name-template: unknown key 'stok'.*Did you mean 'stock'"),
        (['--preset', 'fast'], "segmenter 'felzenszwalb': unknown key 'preset'"),
        (['--restored', 'clean=x'], 'found an arm called clean, expected another name'),
        (['--restored', 'a'], "--restored: found 'a', expected ARM=..."),
        (['--restored', 'a=absent'], '--restored a: found no folder absent'),
        ('sapd/003.png of another size', 'sapd: found .*003.png of 95x128, expected'),
        ('sapd/003.png not an image', '003.png: cannot be read'),
        ('stock/003_stock.png absent', "no image for 1 of 4 .* '{}_stock', the first is '003_stock'"),
    ],
)
def test_mistakes_stop_it_before_any_mask_is_extracted(pairs, more, message, capsys):
    if isinstance(more, str):
        name, _, mistake = more.partition(' ')
        (pairs / name).unlink()
        if mistake == 'of another size':
            cv2.imwrite(str(pairs / name), np.zeros((95, 128, 3)))
        elif mistake == 'not an image':
            (pairs / name).write_bytes(b'none')
        more = []
    assert run(pairs, *more) == 2
    assert re.search(message, capsys.readouterr().err)
    assert not (pairs.parent / 'out').exists()


def test_intervals_are_those_of_scipy():
    values = [0.3, 0.5, 0.45, 0.9]
    low, high = stats.ttest_1samp(values, 0).confidence_interval()
    assert Interval.of(values) == pytest.approx((np.mean(values), low, high))
    assert Interval.of([0.5]).text(2, '+') == '+0.50'
    assert Interval(0.5, -0.25, 1).text(2, '+') == '+0.50 [-0.25, +1.00]'


def test_intervals_of_a_bounded_measure_end_at_its_bounds():
    """The interval of a mean of two fractions may be wider than all that a fraction can be."""
    assert Interval.of([0.1, 0.9])[1:] == pytest.approx((0.5 - 5.082, 0.5 + 5.082), abs=1e-3)
    assert Interval.of([0.1, 0.9], (0.0, 1.0)) == (0.5, 0.0, 1.0)
    assert np.isnan(Interval.of([0.5], (0.0, 1.0)).low)
    scores = {'a': {'mIoU': [0.1, 0.9]}, 'b': {'mIoU': [0.9, 0.2]}}
    assert difference(scores, 'b', 'a', 'mIoU') == pytest.approx((0.05, -1.0, 1.0))
    text = markdown(scores, 'a', ['mIoU'])
    assert '| a | 0.500 [0.000, 1.000] |' in text
    assert '| b | +0.050 [-1.000, +1.000] |' in text


@pytest.mark.parametrize('measure', [*AGREEMENT, *PEOPLE, 'coverage'])
def test_every_printed_measure_has_its_bounds(measure):
    assert BOUNDS[measure] == (0.0, 1.0)
