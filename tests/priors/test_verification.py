"""Whose masks a store holds: what a training compares, what it refuses, and what it can only report."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import decode_image
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStoreWriter
from sapd_plugin.priors.store.digests import ImageDigests, digest_file, digest_pixels
from sapd_plugin.priors.training import Target, open_training_store
from sapd_plugin.priors.verification import ImageFile

COUNT, SIZE = 40, (12, 16)


def image(number: int, suffix: str = '.png') -> bytes:
    """An image file, other numbers other images."""
    smooth = cv2.resize(np.random.default_rng(number).integers(0, 256, (3, 4, 3), np.uint8), SIZE[::-1])
    return cv2.imencode(suffix, smooth)[1].tobytes()


def make(folder: Path, numbers: dict[str, int], digests: bool = True, **settings: Any) -> dict[str, Any]:
    """Write a store of the images with these numbers, by key; return the config of a dataset."""
    with MaskStoreWriter(folder, {'segmenter': 'test', 'note': 'made from /photos', **settings}) as writer:
        for key, number in numbers.items():
            content = image(number)
            pixels = decode_image(content, key)
            label_map = LabelMap.from_labels(np.ones(SIZE, int)).with_colors(pixels)
            writer.put(key, label_map, ImageDigests(digest_pixels(pixels), digest_file(content)) if digests else None)
    return {'mask_store': str(folder)}


class Files:
    """Training images in memory; counts what is read."""

    def __init__(self, gt: dict[str, bytes], lq: dict[str, bytes] | None = None) -> None:
        self.read: list[str] = []
        sides = {'gt': gt} | ({} if lq is None else {'lq': lq})
        self.targets = [
            Target(
                key, f'gt/{key}', lambda: SIZE, [self._file(f'{side}/{key}', own[key]) for side, own in sides.items()]
            )
            for key in gt
        ]

    def _file(self, name: str, content: bytes) -> ImageFile:
        def load() -> bytes:
            self.read.append(name)
            return content

        return ImageFile(name, load)


KEYS = {str(i): i for i in range(COUNT)}
OWN = {key: image(number) for key, number in KEYS.items()}
OTHERS = {key: image(number + 1000) for key, number in KEYS.items()}


@pytest.mark.parametrize(('value', 'count'), [(None, 32), ('all', COUNT), (5, 5), (10_000, COUNT), (0, 0)], ids=str)
def test_as_many_images_are_compared_as_are_asked_for_spread_evenly(tmp_path: Path, value: object, count: int) -> None:
    config, files = make(tmp_path / 'masks', KEYS), Files(OWN)
    note = open_training_store('train', {**config, 'mask_check': value}, files.targets).note
    assert files.read == [f'gt/{i * COUNT // count}' for i in range(count)]
    checked = rf'{COUNT} masks checked in [\d.]+ s; '
    expected = checked + rf'{count} images compared with the digests of their masks in \d+\.\d s: the same\.'
    assert re.fullmatch(
        expected if count else checked + r'masks and images were not compared \(mask_check: 0\)\.', note
    ), note


@pytest.mark.parametrize('value', [-1, True, 2.0, 'most', [3]], ids=str)
def test_a_number_of_images_that_is_none_is_refused(tmp_path: Path, value: object) -> None:
    config = make(tmp_path / 'masks', KEYS)
    with pytest.raises(
        SAPDError, match=r"train\.mask_check: found .*, expected a number of images to compare, or 'all'"
    ):
        open_training_store('train', {**config, 'mask_check': value}, Files(OWN).targets)


def test_masks_of_other_images_are_refused_and_named(tmp_path: Path) -> None:
    config = make(tmp_path / 'masks', KEYS)
    with pytest.raises(SAPDError) as caught:
        open_training_store('train', config, Files(OTHERS).targets)
    message = str(caught.value)
    assert message.startswith(
        f'train.mask_store: 32 of 32 compared masks of {tmp_path / "masks"} are of different images'
    )
    assert "among them '0' (gt/0). The store was made from /photos." in message
    assert 'set train.mask_check: 0' in message
    open_training_store('train', {**config, 'mask_check': 0}, Files(OTHERS).targets)


def test_one_image_exchanged_in_place_is_found_when_all_are_compared(tmp_path: Path) -> None:
    config = make(tmp_path / 'masks', KEYS)
    files = Files({**OWN, '7': image(77)})
    with pytest.raises(SAPDError, match=rf"1 of {COUNT} compared masks .* among them '7' \(gt/7\)"):
        open_training_store('train', {**config, 'mask_check': 'all'}, files.targets)


def test_ranks_share_the_comparison(tmp_path: Path) -> None:
    config, files = make(tmp_path / 'masks', KEYS), Files(OWN)
    for rank in range(3):
        open_training_store('train', config, files.targets, rank, ranks=3)
    assert sorted(files.read) == sorted(f'gt/{i * COUNT // 32}' for i in range(32))


def test_masks_of_the_degraded_images_match_those(tmp_path: Path) -> None:
    config = make(tmp_path / 'masks', KEYS, source='restored', restored_by={'network': 'x'})
    assert '32 images compared' in open_training_store('train', config, Files(OTHERS, OWN).targets).note
    with pytest.raises(SAPDError, match=r"among them '0' \(gt/0 or lq/0\)"):
        open_training_store('train', config, Files(OTHERS, OTHERS).targets)


def test_files_that_were_written_again_match_by_their_pixels(tmp_path: Path) -> None:
    config = make(tmp_path / 'masks', KEYS)
    again = {key: image(number, '.bmp') for key, number in KEYS.items()}
    assert again['0'] != OWN['0']
    assert '32 images compared' in open_training_store('train', config, Files(again).targets).note
    broken = {**OWN, '0': b'no image'}
    with pytest.raises(SAPDError, match='gt/0: not an image'):
        open_training_store('train', config, Files(broken).targets)


@pytest.mark.parametrize('settings', [{'source': 'restored'}, {'source': 'input'}, {'restored_by': {'network': 'x'}}])
def test_masks_of_images_that_the_data_set_lacks_are_reported(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Restored by another program, or degraded copies where training makes its degraded images itself."""
    config = make(tmp_path / 'masks', KEYS, **settings)
    note = open_training_store('train', config, Files(OTHERS).targets).note
    assert 's; the masks are unverified: those of 32 of 32 compared images were made from other images' in note
    if settings != {'source': 'restored'}:
        with pytest.raises(SAPDError, match='of different images'):
            open_training_store('train', config, Files(OTHERS, OTHERS).targets)


def test_masks_of_an_earlier_version_are_unverified(tmp_path: Path) -> None:
    config, files = make(tmp_path / 'masks', KEYS, digests=False), Files(OTHERS)
    note = open_training_store('train', config, files.targets).note
    assert 's; the masks are unverified: an earlier version' in note
    assert files.read == []


def test_shuffled_masks_are_compared_before_they_are_shuffled(tmp_path: Path) -> None:
    config = {**make(tmp_path / 'masks', KEYS), 'mask_shuffle': 1}
    assert '32 images compared' in open_training_store('train', config, Files(OWN).targets).note
    with pytest.raises(SAPDError, match='of different images'):
        open_training_store('train', config, Files(OTHERS).targets)


def test_two_images_with_one_key_are_refused_and_one_image_twice_is_not(tmp_path: Path) -> None:
    config, targets = make(tmp_path / 'masks', KEYS), Files(OWN).targets
    open_training_store('train', config, targets * 2)
    with pytest.raises(
        SAPDError, match=r"train: gt/3 and gt/3\.jpg have the same mask '3', expected one image per key"
    ):
        open_training_store('train', config, [*targets, targets[3]._replace(name='gt/3.jpg')])
