"""Trials of masks: SPF on a frozen student's images, and the positive control in which masks must matter."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from benchmarks import control_photos, controls
from sapd_plugin.core.spf import SPF
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.mask_trial import Photo, Plan, gains, log_mse, spf_loss, train
from tests.photos import ROOT


def photos(count: int = 3, side: int = 48) -> list[Photo]:
    """Photos of two flat halves, the left one with the region 1 and an error of 0.1, the right one with 0.2."""
    made = []
    for index in range(count):
        gt = torch.full((3, side, side), 0.3 + 0.1 * index)
        error = torch.full_like(gt, 0.1)
        error[..., side // 2 :] = 0.2
        labels = torch.ones(1, side, side, dtype=torch.int32)
        labels[..., side // 2 :] = 2
        made.append(Photo(f'{index}', gt, gt + error, gt + error, labels))
    return made


class Known(nn.Module):
    """A branch that takes 0.1 off region 1 and 0.2 off region 2: exact with the right masks."""

    def forward(self, restored: Tensor, mask: Tensor, degraded: Tensor) -> Tensor:
        assert torch.equal(restored, degraded)
        return restored - 0.1 * mask + 0.05 * (mask == 2)


def test_gains_are_differences_of_psnr() -> None:
    mixed = photos()
    found = gains(Known(), mixed, 'one_region')  # type: ignore[arg-type]
    # The left half becomes exact, the right one keeps 0.1: MSE 0.025 becomes 0.005.
    assert found == pytest.approx([10 * math.log10(0.025 / 0.005)] * 3, abs=1e-3)
    flipped = Photo('3', *mixed[0].images(), labels=3 - mixed[0].labels)
    shuffled = gains(Known(), [mixed[0], flipped], 'shuffled')  # type: ignore[arg-type]
    own = gains(Known(), [mixed[0], flipped], 'own')  # type: ignore[arg-type]
    assert shuffled.tolist() == pytest.approx(own[::-1].tolist(), abs=1e-4)
    assert own[0] > shuffled[0] + 1


def test_tiles_are_refined_each_by_itself() -> None:
    class Flat(nn.Module):
        """A branch whose result is the mean of what it sees."""

        def forward(self, restored: Tensor, mask: Tensor, degraded: Tensor) -> Tensor:
            return restored.mean((2, 3), keepdim=True).expand_as(restored)

    exact = gains(Flat(), photos(), 'own', 24)  # type: ignore[arg-type]
    # Tiles of 24 lie in one half, where y is flat; a tile of 48 spans both, and so does the photo.
    assert exact == pytest.approx([0] * 3, abs=1e-3)
    # The photo's mean has an error of 0.15: MSE 0.025 becomes 0.0225.
    for patch in (None, 48):
        assert gains(Flat(), photos(), 'own', patch) == pytest.approx([10 * math.log10(0.025 / 0.0225)] * 3, abs=1e-3)  # type: ignore[arg-type]
    # 20 and 20 of 48 pixels remain; the tile on the right has 4 pixels of the left half.
    right = (4 * 0.1 + 16 * 0.2) / 20
    before = (24 * 0.01 + 16 * 0.04) / 40
    after = (20 * 0.01 + 20 * right**2) / 40
    assert gains(Flat(), photos(), 'own', 20) == pytest.approx([10 * math.log10(before / after)] * 3, abs=1e-3)  # type: ignore[arg-type]


def test_arms_see_the_same_patches_whatever_their_networks_draw() -> None:
    seen: dict[str, list[Tensor]] = {'a': [], 'b': []}
    for name, dropout in (('a', 0.0), ('b', 0.5)):
        network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Dropout(dropout))

        def loss(batch: tuple[Tensor, ...], name: str = name, network: nn.Module = network) -> Tensor:
            seen[name] += [batch[2], batch[3]]
            return log_mse(network(batch[2]), batch[0])

        assert list(train(network, loss, photos(), Plan(iterations=3, patch=16, batch=2), seed=1)) == [1, 2, 3]
        assert not network.training
    assert all(torch.equal(a, b) for a, b in zip(seen['a'], seen['b']))
    assert seen['a'][0].shape == (2, 3, 16, 16)
    assert seen['a'][1].shape == (2, 1, 16, 16)


def test_training_lowers_the_loss() -> None:
    torch.manual_seed(0)
    spf = SPF(controls.Refiner(8, 2), inputs=['restored', 'degraded'])
    assert np.abs(gains(spf.eval(), photos())).max() < 1e-3  # starts from the plain cascade, here y
    for _ in train(spf, spf_loss(spf), photos(), Plan(iterations=60, patch=32, batch=2), seed=0):
        pass
    assert gains(spf, photos()).min() > 3


def test_mistakes_are_named() -> None:
    with pytest.raises(SAPDError, match='iterations: found 0'):
        Plan(iterations=0)
    with pytest.raises(SAPDError, match="--tasks: found 'weak10'.*Did you mean 'weak100'"):
        controls.run(tasks=['weak10'])
    with pytest.raises(SAPDError, match='found no photos in'):
        controls.run(Path('absent'))


def test_the_table_pairs_photos_and_seeds() -> None:
    rows = [
        {
            'task': 't',
            'inputs': 'y, x',
            'source': 'clean' if arm == 'modulate' else 'none',
            'arm': arm,
            'masks': masks,
            'seed': seed,
            'photo': photo,
            'gain': gain + 0.1 * seed + offset,
        }
        for arm, masks, gain in (
            ('none', 'own', 0.0),
            ('modulate', 'own', 1.0),
            ('modulate', 'shuffled', 0.5),
            ('modulate', 'one_region', 0.25),
            ('modulate, one region', 'own', 0.75),
        )
        for seed in (0, 1)
        for photo, offset in (('a', 0.0), ('b', 3.0))
    ]
    line = controls.summary(pd.DataFrame(rows)).iloc[0]
    assert line['z - y'] == '+2.550'
    for control, expected in (('one-region twin', 0.25), ('cascade', 1), ('shuffled', 0.5), ('one region', 0.75)):
        for over in ('seeds', 'photos'):
            assert line[f'own - {control}, over {over}'] == f'{expected:+.3f} [{expected:+.3f}, {expected:+.3f}]'


def test_the_documented_gains_are_those_of_the_csv() -> None:
    rows = pd.read_csv(ROOT / 'benchmarks/controls.csv', **controls.DTYPES)
    table = controls.summary(rows).set_index(['inputs', 'fusion', 'task', 'masks'])
    method = (ROOT / 'docs/method.md').read_text(encoding='utf-8')
    tasks = {'region_noise': 'noise per region', 'weak100': 'sigma 100', 'weak50': 'sigma 50', 'rain': 'heavy rain'}
    columns = ['z - y', *(f'own - {name}, over seeds' for name in ('one-region twin', 'cascade', 'shuffled'))]
    for (inputs, fusion, task, masks), line in table.iterrows():
        cells = line[columns].tolist()
        if (inputs, fusion) == ('y, x', 'modulate'):
            cells = [tasks[task], {'clean': 'clean photo', 'restored': 'y'}[masks], *cells]
        else:
            block = {'y, x': '`[restored, degraded]`', 'y': '`[restored]`'}[inputs]
            cells = [tasks[task], f'`{fusion}`', block, *cells[:3]]
        assert f'| {" | ".join(cells)} |' in method


@pytest.mark.slow
def test_masks_matter_where_each_region_has_its_own_noise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The positive control, on six photographs with felzenszwalb's regions, shorter than the benchmark."""
    monkeypatch.setattr(control_photos, 'STUDENT', Plan(iterations=250, patch=96, batch=8, lr=2e-3))
    controls.run(tasks=['region_noise'], seeds=1, iterations=300, output=tmp_path / 'gains.csv')
    rows = pd.read_csv(tmp_path / 'gains.csv')
    mean = rows.groupby(['arm', 'masks'])['gain'].mean()
    assert mean['modulate', 'own'] > mean['modulate', 'shuffled'] + 0.15
    assert mean['modulate', 'own'] > mean['modulate, one region', 'own']
