"""Tasks that measure a cell's student: tests, and what inference costs."""

from __future__ import annotations

import json
import re
import sys

from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments import results
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.files import write
from sapd_plugin.experiments.framework import EvalSet, Evaluation
from sapd_plugin.experiments.run import Recipes
from sapd_plugin.experiments.tasks import Task

COST_SIZE = (256, 256)
"""Height and width of the image that inference is measured on, as papers have it."""


def test_task(recipes: Recipes, cell: Cell, test_set: EvalSet) -> Task:
    """Test on one set through the framework's own tool."""
    folder, name, side = recipes.folder(cell), test_set.name, recipes.framework
    root, table = recipes.settings.root, recipes.table
    config, train_config = folder / f'test_{name}{side.suffix}', recipes.config(cell)

    def testing() -> Evaluation:
        return Evaluation(test_set, recipes.student(cell), recipes.settings.save_images)

    def keep(output: str) -> None:
        metrics = side.metrics(folder / f'test_{name}', output)
        if 'psnr' not in metrics:
            raise SAPDError(f'{config}: the test printed no PSNR. Its output:\n{output[-2000:]}')
        found = results.load(cell, root)
        found.tests[name] = {
            **metrics,
            'protocol': table.protocol,
            'quantise': table.quantise,
            'sigma': table.sigma,
            'images': len(list((test_set.folder / 'target').iterdir())),
        }
        found.save(folder)

    return Task(
        title=f'test {recipes.name(cell)} on {name}',
        folder=folder,
        command=lambda: side.test_command(config, folder, testing()),
        done=lambda: results.load(cell, root).holds(name, table),
        prepare=lambda: write(config, side.testing(train_config, testing()), replace_other=True),
        finish=keep,
        log=folder / f'test_{name}.txt',
    )


def cost_task(recipes: Recipes, cell: Cell) -> Task:
    """Measure what inference costs, the stock student beside it where it is there."""
    folder, root = recipes.folder(cell), recipes.settings.root
    arguments = ['--framework', recipes.framework.name, '--size', *map(str, COST_SIZE), '--json']
    if recipes.table.protocol == 'grey':
        arguments += ['--channels', '1']

    def command() -> list[str]:
        own, stock = recipes.student(cell), recipes.student(recipes.stock(cell))
        students = [str(own)] if cell.arm == 'stock' or not stock.is_file() else [str(stock), str(own)]
        return [
            sys.executable,
            '-m',
            'sapd_plugin.cli.inference_cost',
            str(recipes.config(cell)),
            *students,
            *arguments,
        ]

    def keep(output: str) -> None:
        costs = json.loads(output[re.search(r'^\[$', output, re.MULTILINE).start() :])
        found = results.load(cell, root)
        found.cost = {key: value for key, value in costs[-1].items() if key != 'network'}
        found.cost['over_stock'] = costs[-1]['milliseconds'] / costs[0]['milliseconds'] if costs[1:] else None
        found.save(folder)

    return Task(
        title=f'cost {recipes.name(cell)}',
        folder=folder,
        command=command,
        done=lambda: bool(results.load(cell, root).cost),
        finish=keep,
    )
