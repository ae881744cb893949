"""The task that cuts a cell's masks, or goes on cutting them."""

from __future__ import annotations

import re
import shlex
import sys

from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.files import same, write
from sapd_plugin.experiments.run import Recipes
from sapd_plugin.experiments.tasks import Task


def mask_task(recipes: Recipes, cell: Cell) -> Task:
    """Cut masks of the cell's training images with tools/extract_masks.py."""
    giver, store, arm = recipes.giver(cell), recipes.store(cell), recipes.arm(cell)
    finished = store.with_name(f'{store.name}.done')

    def command() -> list[str]:
        source = recipes.mask_source(arm)
        inputs, targets = recipes.training_folders(giver)
        folder = targets if source == 'target' else recipes.mask_images or inputs
        arguments = ['--images', str(folder), '--output', str(store), *recipes.segmenter(arm)]
        if source == 'restored':
            arguments += ['--restored-by', str(recipes.config(giver)), str(recipes.student(giver))]
        else:
            arguments += ['--source', source]
        return [sys.executable, '-m', 'sapd_plugin.cli.extract_masks', *arguments]

    return Task(
        title=f'masks {recipes.table.name}/{store.name}' if recipes.table.group else f'masks {store.name}',
        folder=store.parent,
        command=command,
        done=lambda: same(finished, shlex.join(command())),
        finish=lambda output: write(finished, shlex.join(command()), replace_other=True),
        log=store.with_name(f'{store.name}.txt'),
        progress=images_done,
        unit='image',
    )


def images_done(line: str) -> tuple[int, int] | None:
    """Read the extraction's own progress bar."""
    found = re.search(r'\b(\d+)/(\d+) \[', line)
    return (int(found[1]), int(found[2])) if found else None
