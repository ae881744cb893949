"""Agreement of masks, by hand and against another way of counting; what people drew."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.agreement import against_clean, against_people, mean_best_iou, recoloured
from sapd_plugin.evaluation.people import People


def test_equal_masks_agree_wholly():
    labels = np.array([[1, 1, 2], [0, 3, 3]])
    other_names = np.array([[9, 9, 4], [0, 7, 7]])
    assert against_clean(other_names, labels) == {'mIoU': 1, 'covering': 1, 'covered': 1, 'matched IoU': 1}


def test_by_hand():
    clean = np.array([[1, 1, 1, 1, 2, 2, 0, 0]])
    labels = np.array([[1, 1, 1, 0, 0, 2, 2, 0]])
    found = against_clean(labels, clean)
    assert found['mIoU'] == pytest.approx((3 / 4 + 1 / 3) / 2)
    # The clean image's two pixels without a mask are covered best by the second mask, the three here by either one.
    assert found['covering'] == pytest.approx((4 * 3 / 4 + 2 * 1 / 3 + 2 * 1 / 3) / 8)
    assert found['covered'] == pytest.approx((3 * 3 / 4 + 2 * 1 / 3 + 3 * 1 / 4) / 8)
    assert found['matched IoU'] == pytest.approx((3 / 4 + 1 / 3) / 2)


def test_many_masks_over_one_do_not_pass_for_agreement():
    clean = np.ones((8, 8), int)
    shattered = np.arange(64).reshape(8, 8) + 1
    found = against_clean(shattered, clean)
    assert found['mIoU'] == found['covering'] == pytest.approx(1 / 64)
    assert found['matched IoU'] == pytest.approx(1 / 64**2)
    assert against_clean(clean, shattered)['covered'] == pytest.approx(1 / 64)


def test_mean_best_iou_is_what_loops_over_masks_find():
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels, clean = (np.kron(block, np.ones((3, 2), int)) for block in rng.integers(0, 5, (2, 6, 7)))
        best = [
            max(
                ((labels == b) & (clean == a)).sum() / ((labels == b) | (clean == a)).sum()
                for b in set(labels.flat) - {0}
            )
            for a in set(clean.flat) - {0}
        ]
        assert mean_best_iou(labels, clean) == pytest.approx(np.mean(best))


@pytest.mark.parametrize(('labels', 'clean', 'expected'), [(0, 0, 1.0), (1, 0, 0.0), (0, 1, 0.0), (1, 1, 1.0)], ids=str)
def test_images_without_masks(labels, clean, expected):
    found = against_clean(np.full((4, 4), labels), np.full((4, 4), clean))
    assert (found['mIoU'], found['matched IoU']) == (expected, expected)


def test_unmasked_pixels_are_a_region_against_people():
    labels = np.array([[1, 1, 0, 0]])
    people = [np.array([[1, 1, 2, 2]]), np.array([[1, 1, 1, 1]])]
    assert against_people(labels, people) == {'human best': 1.0, 'human mean': 0.75}


def test_colours_follow_the_clean_image():
    clean = np.array([[1, 1, 1, 1, 2, 2, 0, 0]])
    labels = np.array([[2, 2, 2, 0, 1, 1, 0, 3]])
    coloured = recoloured(labels, clean)
    assert coloured[0, [0, 1, 2]].tolist() == [1, 1, 1]
    assert coloured[0, [4, 5]].tolist() == [2, 2]
    assert coloured[0, [3, 6]].tolist() == [0, 0]
    assert coloured[0, 7] > 2


def test_people_of_bsds(calibration_data):
    people = People(calibration_data / 'segmentation_gt', 'rain100l')
    people.check(['001', '100'])
    drawn = people.annotators('001')
    assert len(drawn) >= 4
    assert all(a.shape == (481, 321) or a.shape == (321, 481) for a in drawn)


def test_people_by_the_name_of_the_image(tmp_path):
    labels = np.array([[1, 2], [2, 2]])
    truth = np.empty((1, 1), object)
    truth[0, 0] = {'Segmentation': labels.astype(np.uint16)}
    savemat(tmp_path / 'a.mat', {'groundTruth': truth})
    (drawn,) = People(tmp_path).annotators('x/a')
    assert np.array_equal(drawn, labels)
    with pytest.raises(SAPDError, match=r"no segmentation of 1 images .* the first is 'b'"):
        People(tmp_path).check(['a', 'b'])


def test_mistakes_about_people(tmp_path):
    with pytest.raises(SAPDError, match=r'--human: found no .mat file'):
        People(tmp_path)
    (tmp_path / 'a.mat').write_bytes(b'none')
    with pytest.raises(SAPDError, match=r'a.mat: found no groundTruth of BSDS'):
        People(tmp_path).annotators('a')
    with pytest.raises(SAPDError, match=r'--human-set: found x but no'):
        People(tmp_path, 'x')
    (tmp_path / 'index.csv').write_text('set,image,bsds_id\nx,a.png,1\ny,a.png,2\n')
    with pytest.raises(SAPDError, match=r'a.png in several sets .*expected --human-set, one of x, y'):
        People(tmp_path)
    with pytest.raises(SAPDError, match=r'--human-set: found z, expected one of x, y'):
        People(tmp_path, 'z')
    (tmp_path / 'index.csv').write_text('name\na\n')
    with pytest.raises(SAPDError, match='found no columns image and bsds_id'):
        People(tmp_path)
