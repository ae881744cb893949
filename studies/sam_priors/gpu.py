"""What question 3 of the second study would cost on a GPU, computed from its table: nothing of it was measured."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import pandas as pd
import torch

from sapd_plugin.archs import NETWORKS
from sapd_plugin.core.settings import StepSettings
from sapd_plugin.evaluation.cost import count_macs
from sapd_plugin.experiments.catalogue import Catalogue
from sapd_plugin.experiments.definitions import Arm, Launch, Settings
from sapd_plugin.experiments.plan import Resolver, load_framework, plan
from sapd_plugin.experiments.run import Run
from sapd_plugin.experiments.tasks import TrainTask

TABLE = 'noise50_gpu'
STEP = 3  # forward passes that a training step costs, by the usual rule: the backward pass costs two


def trainings(catalogue: Catalogue) -> list[Run]:
    """Return the runs that the table trains, each once."""
    settings = Settings(Path(), Path('datasets'), Path('checkpoints'), Launch())
    resolver = Resolver(catalogue, load_framework('basicsr'), settings)
    cells = catalogue.cells(catalogue.tables[TABLE], 'basicsr')
    tasks = [task for cell in cells for task in plan(resolver, cell) if isinstance(task, TrainTask)]
    return list({task.lock: task.of for task in tasks}.values())


def costs(catalogue: Catalogue) -> pd.DataFrame:
    """Count what the table's trainings compute, by student.

    Returns:
        A row per student: student (MODEL/SIZE), parameters, patch (its side), trainings, iterations (of all trainings),
        step (multiply-accumulates of a stock step) and total (those of all trainings), as `count_macs` counts them.
    """
    rows = []
    for run in trainings(catalogue):
        patch = run.options['datasets']['train']['gt_size']
        parameters, forward = _count(json.dumps(run.options['network_g']), patch)
        step = run.batch * forward
        work = run.iterations * step * passes(run.arm)
        rows.append((f'{run.cell.model}/{run.cell.size}', parameters, patch, STEP * step, run.iterations, work))
    by = ['student', 'parameters', 'patch', 'step']
    frame = pd.DataFrame(rows, columns=[*by, 'iterations', 'total'])
    sums = {'trainings': ('total', 'count'), 'iterations': ('iterations', 'sum'), 'total': ('total', 'sum')}
    return frame.groupby(by, sort=False).agg(**sums).reset_index()


def passes(arm: Arm) -> float:
    """Return the forward passes of the student's network that one training step of an arm costs.

    The second network is a copy of the student: a step where it is trained, one pass where it stands still. Its fusion
    and the losses are not counted.
    """
    if not arm.has_priors:
        return STEP
    settings = StepSettings(**arm.step)
    return STEP + (1 if settings.teacher == 'frozen' else STEP) / settings.every


@cache
def _count(block: str, patch: int) -> tuple[int, int]:
    """Return the parameters of a network, whose block is given as JSON, and the multiply-accumulates of one patch."""
    settings = json.loads(block)
    with torch.device('meta'):  # counted without being computed
        network = NETWORKS[settings.pop('type')](**settings)
    return sum(each.numel() for each in network.parameters()), count_macs(network, (1, 3, patch, patch))
