"""Trials of masks on the command line: what they train, what they say, and how they resume."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from basicsr.archs import build_network

from sapd_plugin.cli import evaluate_teacher, mask_trial
from sapd_plugin.evaluation.mask_arms import MaskArms
from sapd_plugin.evaluation.mask_trial import Photo
from sapd_plugin.evaluation.mask_verdict import CASCADE, TWIN, Verdict, paired
from sapd_plugin.evaluation.trial_photos import exchanged
from tests.adapters_basicsr.recipes import STOCK
from tests.photos import make_pairs, make_store, segmented

SHORT = ('--iterations', '2', '--batch', '1', '--patch', '32', '--seeds', '2')


@pytest.fixture(scope='module')
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs as input/ and target/, masks of them, and a student with its config."""
    folder = tmp_path_factory.mktemp('trial')
    pairs = make_pairs(folder / 'pairs', 6, (61, 80))
    for side, kind in (('input', 'rainy'), ('target', 'clean')):
        (pairs / kind).rename(pairs / side)
    for number in range(7, 11):  # ten pairs, so that two of them test
        for side in ('input', 'target'):
            image = cv2.imread(str(pairs / side / f'{number - 6:03d}.png'))
            cv2.imwrite(str(pairs / side / f'{number:03d}.png'), image[::-1])
    make_store(folder / 'masks', pairs / 'target', segmented)
    options = {'model_type': 'SRModel', 'scale': 1, 'network_g': STOCK['network_g'], 'path': {}}
    (folder / 'stock.yml').write_text(yaml.safe_dump({**options, 'name': 'stock', 'datasets': {}}))
    torch.manual_seed(0)
    torch.save({'params': build_network(dict(STOCK['network_g'])).state_dict()}, folder / 'student.pth')
    return folder


def trial(place: Path, output: Path, *more: str, masks: tuple[str, ...] = ('clean={}', 'felzenszwalb')) -> int:
    command = ['--restored-by', f'{place}/stock.yml', f'{place}/student.pth', '--pairs', f'{place}/pairs']
    named = [item.format(place / 'masks') for item in masks]
    return evaluate_teacher.main([*command, '--masks', *named, '--output', str(output), *SHORT, *more])


def test_every_arm_seed_and_photo_is_measured(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert trial(place, tmp_path, '--shuffled', 'clean') == 0
    rows = pd.read_csv(tmp_path / 'trial.csv', dtype={'photo': str})
    kinds = ['clean', 'clean, shuffled', 'felzenszwalb']
    assert list(dict.fromkeys(rows['arm'])) == [CASCADE, TWIN, *kinds]
    assert set(rows['photo']) == {'005', '010'}
    assert len(rows) == 2 * 2 * (2 + 3 + 2 + 3)  # seeds, photos, tests of each arm
    # The same weights and patches: only masks make a difference, and the twin's masks are one region.
    gains = rows.pivot_table(index=['seed', 'photo'], columns=['arm', 'masks'], values='gain')
    assert gains.nunique(axis=1).min() >= 4
    text = (tmp_path / 'table.md').read_text()
    assert text in capsys.readouterr().out
    assert '8 photos to train on, 2 to test on, 2 seeds' in text
    assert [line.split(':')[0] for line in text.splitlines() if line.startswith('- ')][-3:] == [f'- {k}' for k in kinds]


def test_an_interrupted_trial_resumes_to_the_same_result(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert trial(place, tmp_path / 'whole', masks=('clean={}',)) == 0
    measure, begun = MaskArms.measure, []

    def interrupted(self: MaskArms, *arguments: object) -> object:
        begun.append(arguments[:2])
        if len(begun) == 3:
            raise KeyboardInterrupt
        return measure(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MaskArms, 'measure', interrupted)
    assert trial(place, tmp_path / 'part', masks=('clean={}',)) == 130
    assert trial(place, tmp_path / 'part', masks=('clean={}',)) == 0
    # The third arm is made again, the first two are not.
    assert begun == [(CASCADE, 0), (TWIN, 0), ('clean', 0), ('clean', 0), (CASCADE, 1), (TWIN, 1), ('clean', 1)]
    for name in ('trial.csv', 'table.md', 'trial.json'):
        assert (tmp_path / 'part' / name).read_text() == (tmp_path / 'whole' / name).read_text()


def test_a_trial_with_other_settings_is_not_resumed(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert trial(place, tmp_path, masks=('clean={}',)) == 0
    kept = (tmp_path / 'trial.csv').read_text()
    assert trial(place, tmp_path, '--iterations', '3', masks=('clean={}',)) == 2
    assert 'different settings: plan.iterations: found 2, expected 3' in capsys.readouterr().err
    assert (tmp_path / 'trial.csv').read_text() == kept


@pytest.mark.parametrize(
    ('more', 'message'),
    [
        (('--twin', 'x'), '--twin: is an option of --run alone'),
        (('--seeds', '1'), '--seeds: found 1, expected an integer >= 2'),
        (('--patch', '33'), '--patch: found 33, expected an even number'),
        (('--patch', '64'), '--patch: found 64, but 001 is 61x80'),
        (('--fusion', 'modulated'), "--fusion: found 'modulated', expected one of modulate, map, attend"),
        (('--inputs', 'degraded'), "--inputs: found 'degraded', expected one of both, restored"),
        (('--shuffled', 'clear'), "--shuffled: found 'clear', expected one of clean, felzenszwalb"),
        (('--limit', '3'), '--pairs: found 3 pairs, expected 10 or more'),
        (('--test-pairs', '{}/pairs'), '--test-pairs: found 001, which is in --pairs, too'),
        (('--masks', 'a=masks', 'a=masks'), 'found no'),
        (('--masks', 'felzenszwalb', 'felzenszwalb'), "--masks: found the name 'felzenszwalb' twice"),
    ],
)
def test_mistakes_are_refused_before_anything_is_trained(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...], message: str
) -> None:
    assert trial(place, tmp_path / 'new', *(item.format(place) for item in more)) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob('trial.*'))


def test_other_photos_with_the_same_names_are_not_taken_for_those_of_the_trial(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = shutil.copytree(place, tmp_path / 'place')
    assert trial(place, tmp_path / 'out', masks=('felzenszwalb',)) == 0
    for path in (other / 'pairs/input').iterdir():
        cv2.imwrite(str(path), 255 - cv2.imread(str(path)))
    assert trial(other, tmp_path / 'out', masks=('felzenszwalb',)) == 2
    assert 'holds a trial with different settings: pairs: found' in capsys.readouterr().err


def test_kinds_of_masks_may_be_added_to_a_trial(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert trial(place, tmp_path / 'both', '--shuffled', 'clean') == 0
    assert trial(place, tmp_path / 'one', masks=('felzenszwalb',)) == 0
    measure, begun = MaskArms.measure, []

    def noted(self: MaskArms, *arguments: object) -> object:
        begun.append(arguments[0])
        return measure(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(MaskArms, 'measure', noted)
    assert trial(place, tmp_path / 'one', '--shuffled', 'clean') == 0
    assert begun == ['clean', 'clean, shuffled'] * 2
    assert (tmp_path / 'one/table.md').read_text() == (tmp_path / 'both/table.md').read_text()


def test_a_csv_that_lacks_a_photo_is_completed(place: Path, tmp_path: Path) -> None:
    assert trial(place, tmp_path, masks=('clean={}',)) == 0
    whole = (tmp_path / 'table.md').read_text()
    lines = (tmp_path / 'trial.csv').read_text().splitlines(keepends=True)
    (tmp_path / 'trial.csv').write_text(''.join(lines[:1] + lines[2:]))
    assert trial(place, tmp_path, masks=('clean={}',)) == 0
    assert (tmp_path / 'table.md').read_text() == whole


def test_another_photos_masks_are_stretched_to_the_photo() -> None:
    sizes = [(4, 6), (6, 4), (4, 6)]
    photos = []
    for number, (height, width) in enumerate(sizes):
        image = torch.zeros(3, height, width)
        labels = torch.full((1, height, width), 10 * number, dtype=torch.int16)
        labels[..., width // 2 :] += 1
        photos.append(Photo(str(number), image, image, image, labels))
    found = exchanged(photos, 0)
    assert [photo.name for photo in found] == ['0', '1', '2']
    assert sorted(int(photo.labels.min()) // 10 for photo in found) == [0, 1, 2]
    for own, new in zip(photos, found):
        assert int(new.labels.min()) // 10 != int(own.labels.min()) // 10
        assert new.labels.shape == own.labels.shape
        half = own.labels.shape[-1] // 2
        assert (new.labels % 10)[..., :half].max() == 0
        assert (new.labels % 10)[..., half:].min() == 1


def test_a_gray_student_of_photos_in_color_is_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gray:
        settings, note = {'network': 'gray'}, ''

        def __call__(self, image: np.ndarray) -> np.ndarray:
            return np.repeat(image[..., :1], 3, axis=2)

    monkeypatch.setattr(mask_trial, 'build_restorer', lambda *_: Gray())
    assert trial(place, tmp_path / 'new') == 2
    assert 'restores 001 to a gray image, but its target is in color' in capsys.readouterr().err


def test_masks_that_lack_an_image_and_images_that_grow_are_refused(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / 'place'
    shutil.copytree(place, other)
    for side in ('input', 'target'):
        (other / 'pairs' / side / '010.png').rename(other / 'pairs' / side / '011.png')
    assert trial(other, tmp_path / 'a') == 2
    assert "has no masks for 1 of 10 images, among them '011'" in capsys.readouterr().err
    for path in (other / 'pairs/input').iterdir():
        cv2.imwrite(str(path), cv2.resize(cv2.imread(str(path)), (40, 30)))
    assert trial(other, tmp_path / 'b', masks=('felzenszwalb',)) == 2
    assert 'does not serve super-resolution' in capsys.readouterr().err


def test_options_of_this_mode_are_refused_with_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ['--run', 'x', '--pairs', 'x', '--output', str(tmp_path), '--masks', 'x']
    assert evaluate_teacher.main([*command, '--seeds', '3']) == 2
    assert '--seeds: is an option of --restored-by alone' in capsys.readouterr().err
    assert evaluate_teacher.main([*command, 'y']) == 2
    assert '--masks: found 2 stores, expected one with --run' in capsys.readouterr().err


def rows_of(**gains: list[list[float]]) -> pd.DataFrame:
    """Rows of a trial: per arm a list per seed of a gain per photo."""
    return pd.DataFrame(
        {
            'arm': arm.replace('_', ' ') if arm == 'one_region' else arm,
            'seed': seed,
            'masks': 'own',
            'photo': str(photo),
            'gain': gain,
        }
        for arm, seeds in gains.items()
        for seed, photos in enumerate(seeds)
        for photo, gain in enumerate(photos)
    )


def test_a_verdict_needs_every_control_and_both_intervals() -> None:
    zero = [[1.0, 2.0], [1.1, 2.1]]
    arms = {
        'helps': [[1.2, 2.2], [1.31, 2.31]],
        'varied': [[1.5, 1.9], [1.61, 2.01]],
        'harms': [[0.9, 1.9], [1.01, 2.01]],
        'unclear': [[1.3, 2.3], [0.9, 1.9]],
        'small': [[1.01, 2.01], [1.11, 2.111]],
        'any': [[1.2, 2.2], [1.31, 2.31]],
        'any, shuffled': [[1.2, 2.2], [1.31, 2.32]],
    }
    verdict = Verdict(rows_of(cascade=zero, one_region=zero, **arms))
    found = dict(sentence.split(': ', 1) for sentence in verdict.sentences())
    better = 'dB better than with the same network without masks'
    assert found['helps'] == f'the masks help here: z is +0.205 [+0.141, +0.269] {better}.'
    assert found['varied'].startswith('no gain is shown for all photos: ')
    assert found['harms'].startswith('the masks do harm here: ')
    assert found['unclear'].startswith('no gain is shown: z is +0.050 [')
    assert found['small'].startswith('the gain is too small to matter: ')
    unsure = "better than without masks, but not shown to be better than with another photo's masks: z is +0.205 ["
    assert found['any'].startswith(unsure)
    assert found['any'].endswith("than a network that was trained with another photo's masks.")
    of_seeds, of_photos = paired(verdict.gain('helps'), verdict.gain(TWIN))
    assert of_seeds.mean == of_photos.mean == pytest.approx(0.205)
    assert of_photos[1:] == pytest.approx((0.205, 0.205))
    assert '| helps | +1.755 | +0.205 [+0.141, +0.269] |' in verdict.table()
    ahead = Verdict(rows_of(cascade=arms['helps'], one_region=zero, masks=arms['helps']))
    assert list(ahead.sentences())[-1].endswith(
        '+0.000 [+0.000, +0.000] dB better than a network that was trained without fusion.'
    )


def test_one_seed_gives_no_verdict() -> None:
    (said,) = Verdict(rows_of(cascade=[[1.0, 2.0]], one_region=[[1.0, 2.0]], masks=[[1.5, 2.5]])).sentences()
    assert said == 'masks: one seed says nothing yet: z is +0.500 dB better than with the same network without masks.'


def test_a_z_that_is_hardly_ahead_of_y_is_reported() -> None:
    zero = [[0.01, 0.0], [0.0, 0.01]]
    assert next(Verdict(rows_of(cascade=zero, one_region=zero, masks=zero)).sentences()) == (
        'There is little to distil: the best z is +0.005 [+0.005, +0.005] dB ahead of y.'
    )
