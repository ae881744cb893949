"""The plugin's own share of a BasicSR training step."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from basicsr.data import build_dataset
from torch.utils.data import default_collate

from benchmarks.fixtures import BATCH, Row, compare_steps, options, photo_pairs, quiet_build


def run(repeats: int = 9) -> list[Row]:
    """Measure on one batch of real patches, see `compare_steps`."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = photo_pairs(Path(folder))
        sapd = [_with_branch(options(pairs), pairs, fusion) for fusion in ('none', 'modulate')]
        dataset = build_dataset(sapd[0]['datasets']['train'])
        batch = default_collate([dataset[index] for index in range(BATCH)])
        models = [quiet_build(each) for each in (options(pairs), options(pairs), *sapd)]

    def step(model: Any) -> None:
        model.feed_data(batch)
        model.optimize_parameters(1)

    return compare_steps(step, models, batch['gt'], repeats)


def _with_branch(opt: dict[str, Any], pairs: Path, fusion: str) -> dict[str, Any]:
    opt.update(model_type='SAPDModel', network_spf={'type': 'SPF', 'fusion': fusion})
    opt['datasets']['train'].update(type='PairedImageMaskDataset', mask_store=str(pairs / 'masks'))
    opt['train'].update(spd_opt={'type': 'SPDLoss'}, sgr_opt={'type': 'SGRLoss', 'every': 1}, sapd_opt={'every': 1})
    return opt
