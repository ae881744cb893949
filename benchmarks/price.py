"""The whole BasicSR step with SAM priors over the stock step: time and peak memory, for documented settings.

The student is NAFNet-w32 as published, on patches of 128x128. Time is processor time, because it does not depend on
what else runs on the machine; memory is that of all tensors.
"""

from __future__ import annotations

import gc
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from basicsr.data import build_dataset
from torch.utils.data import default_collate

from benchmarks.device.steps import compare
from benchmarks.fixtures import Row, options, photo_pairs, quiet_build
from benchmarks.training import SETTINGS, STUDENTS, Setting
from sapd_plugin.evaluation.cost import medians_ms
from sapd_plugin.evaluation.step_cost import ALL_ALIKE, StepCost, Training, measure_step, step_kinds


def run(repeats: int = 3, side: int = 128, batch: int = 4) -> list[Row]:
    """Measure all `SETTINGS` in turn, see the module."""
    with tempfile.TemporaryDirectory() as folder:
        pairs = photo_pairs(Path(folder))
        stock = with_setting(options(pairs), pairs, None, side)
        configs = {'stock': stock, **{n: with_setting(options(pairs), pairs, s, side) for n, s in SETTINGS.items()}}
        dataset = build_dataset(configs['default']['datasets']['train'])
        data = default_collate([dataset[index % len(dataset)] for index in range(batch)])
        builders = {name: partial(training, config, data) for name, config in configs.items()}
        memory = {}
        for name, build in builders.items():
            memory[name] = measure_step(build, torch.device('cpu'), repeats=0).memory
            gc.collect()
        trainings = {name: build() for name, build in builders.items()}
    kinds = [(name, iteration) for name, each in trainings.items() for iteration in each.kinds]
    steps = [partial(trainings[name].step, iteration) for name, iteration in kinds]
    times = dict(zip(kinds, medians_ms(steps, repeats, clock=time.process_time)))
    costs = {}
    for name, each in trainings.items():
        parts = tuple((share, times[name, iteration]) for iteration, share in each.kinds.items())
        costs[name] = StepCost(sum(share * milliseconds for share, milliseconds in parts), memory[name], parts)
    return compare(f'NAFNet-w32, {batch} x {side}x{side}', costs.pop('stock'), costs)


def with_setting(opt: dict[str, Any], pairs: Path, setting: Setting | None, side: int) -> dict[str, Any]:
    """Return options that train NAFNet-w32 with a setting; None: stock."""
    name, network = STUDENTS['NAFNet-w32']
    opt['network_g'] = {'type': name, **network}
    opt['datasets']['train'].update(gt_size=side)
    if setting is not None:
        opt.update(model_type='SAPDModel', network_spf={'type': 'SPF', **setting.spf})
        opt['datasets']['train'].update(type='PairedImageMaskDataset', mask_store=str(pairs / 'masks'))
        opt['train'].update(
            spd_opt={'type': 'SPDLoss', **setting.spd},
            sgr_opt={'type': 'SGRLoss', **setting.sgr},
            sapd_opt=dict(setting.step),
        )
    return opt


def training(opt: dict[str, Any], data: dict[str, Any]) -> Training:
    """Build the training of BasicSR's options on one batch."""
    model = quiet_build(opt)

    def step(iteration: int) -> None:
        model.feed_data(data)
        model.optimize_parameters(iteration)

    return Training(step, step_kinds(model.distiller) if opt['model_type'] == 'SAPDModel' else ALL_ALIKE)
