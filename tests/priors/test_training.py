"""What a training checks of its masks before the first step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.labels import LabelMap
from sapd_plugin.priors.store import MaskStoreWriter
from sapd_plugin.priors.training import Target, open_training_store

SIZE = 30, 40


def make(folder: Path, count: int = 5, colors: bool = True) -> tuple[dict[str, str], list[Target]]:
    """Write a store; return its config and its images."""
    rng = np.random.default_rng(0)
    with MaskStoreWriter(folder, {'segmenter': 'test'}) as writer:
        for i in range(count):
            label_map = LabelMap.from_labels(rng.integers(0, 9, SIZE))
            photo = rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
            writer.put(str(i), label_map.with_colors(photo) if colors else label_map)
    return {'mask_store': str(folder)}, [Target(str(i), f'{i}.png', lambda: SIZE) for i in range(count)]


def test_masks_of_an_earlier_version_serve_all_but_the_context(tmp_path: Path) -> None:
    config, targets = make(tmp_path / 'masks', colors=False)
    assert open_training_store('train', {**config, 'mask_context': False}, targets).store.record('3').shape == (
        *SIZE,
        1,
    )
    with pytest.raises(
        SAPDError, match=r"train\.mask_context: .*masks, mask '0' was made by an earlier version.*again"
    ):
        open_training_store('train', {**config, 'mask_context': True}, targets)


def test_masks_with_colors_serve_the_context(tmp_path: Path) -> None:
    config, targets = make(tmp_path / 'masks')
    store = open_training_store('train', {**config, 'mask_context': True, 'mask_shuffle': 1}, targets).store
    assert store.record('3').context().shape[1] == 7


def test_ranks_share_the_reading_and_each_knows_what_is_missing(tmp_path: Path) -> None:
    config, targets = make(tmp_path / 'masks', count=7)
    read: list[str] = []

    def counted(target: Target) -> Target:
        def size() -> tuple[int, int] | None:
            read.append(target.key)
            return target.size()

        return target._replace(size=size)

    counting = [counted(target) for target in targets]
    for rank in range(3):
        open_training_store('train', config, counting, rank, ranks=3)
        assert len(read) <= 3 * (rank + 1)
    assert sorted(read) == [target.key for target in targets]
    for rank in range(3):
        with pytest.raises(SAPDError, match=r"no masks for 1 of 8 images, among them 'absent'"):
            open_training_store('train', config, [*targets, Target('absent', 'a', lambda: SIZE)], rank, ranks=3)


def test_a_wrong_size_is_found_by_the_rank_that_reads_it(tmp_path: Path) -> None:
    config, targets = make(tmp_path / 'masks')
    targets[3] = targets[3]._replace(size=lambda: (30, 41))
    open_training_store('train', config, targets, rank=0, ranks=2)
    with pytest.raises(SAPDError, match=r'the mask of 3\.png is 30x40, the image 30x41'):
        open_training_store('train', config, targets, rank=1, ranks=2)
    targets[3] = targets[3]._replace(size=lambda: None)
    open_training_store('train', config, targets, rank=1, ranks=2)


@pytest.mark.parametrize('value', ['yes', 1.5, 64])
def test_a_context_that_is_none_is_refused(tmp_path: Path, value: object) -> None:
    config, targets = make(tmp_path / 'masks')
    with pytest.raises(SAPDError, match=rf'train\.mask_context: found {value!r}, expected true or false'):
        open_training_store('train', {**config, 'mask_context': value}, targets)
