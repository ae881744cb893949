"""Tasks that give a cell its student: training, or the authors' checkpoint."""

from __future__ import annotations

import hashlib
from pathlib import Path
from statistics import fmean

from sapd_plugin.experiments import results
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.checkpoints import read_published
from sapd_plugin.experiments.files import same, write
from sapd_plugin.experiments.run import Recipes
from sapd_plugin.experiments.tasks import Task
from sapd_plugin.priors.store import MaskStore


def train_task(recipes: Recipes, cell: Cell) -> Task:
    """Train through the framework's own tool, or go on where the table lets it."""
    folder, config, training = recipes.folder(cell), recipes.config(cell), recipes.training(cell)
    side, launch, resume = recipes.framework, recipes.settings.launch, recipes.table.resume

    def text() -> str:
        return side.training(recipes.training(cell))  # anew: the student that it starts from may be there now

    def keep(seconds: float) -> None:
        found = results.load(cell, recipes.settings.root)
        asked, published = side.iterations(config), side.iterations(training.stock)
        before = found.training.get('seconds', 0.0) if resume else 0.0
        found.training = {
            'iterations': asked,
            'as_published': asked == published,
            'batch': training.batch * max(launch.gpus, 1) if training.batch else None,
            'seconds': round(before + seconds, 1),
            'masks': _masks_of(training.masks) if training.arm.has_priors else None,
            'finished': side.trained(config, folder) is not None,
        }
        found.save(folder)

    return Task(
        title=f'train {recipes.name(cell)}',
        folder=folder,
        command=lambda: side.train_command(
            config, folder, launch, resume and config.is_file() and side.begun(config, folder)
        ),
        done=lambda: same(config, text()) and side.trained(config, folder) is not None,
        prepare=lambda: write(config, text()),
        stopped=keep,
        log=folder / 'train.txt',
        total=recipes.read(training, side.iterations),
        progress=lambda line: (found, None) if (found := side.iteration(line)) is not None else None,
    )


def log_task(recipes: Recipes, cell: Cell) -> Task:
    """Keep what the training logged of its losses: means over its second half, when z has had time to get ahead."""
    folder, config, root = recipes.folder(cell), recipes.config(cell), recipes.settings.root

    def keep() -> None:
        logged = sorted(recipes.framework.logged(config, folder).items())
        late = [values for _, values in logged[len(logged) // 2 :]]
        found = results.load(cell, root)
        means = {key: fmean(values[key] for values in late) for key in (late[0] if late else ())}
        found.training['logged'] = {'steps': len(late), **means}
        found.save(folder, measured=False)

    return Task(
        title=f'log {recipes.name(cell)}',
        folder=folder,
        done=lambda: 'logged' in results.load(cell, root).training,
        prepare=keep,
    )


def published_task(recipes: Recipes, cell: Cell) -> Task:
    """Bring the authors' checkpoint into the framework's form."""
    folder, config, training = recipes.folder(cell), recipes.config(cell), recipes.training(cell)
    source, target = recipes.checkpoint(cell), recipes.student(cell)

    def convert() -> None:
        write(config, recipes.framework.training(training))
        recipes.framework.save_student(read_published(source), target)
        found = results.load(cell, recipes.settings.root)
        found.training = {'checkpoint': source.name, 'sha256': hashlib.sha256(source.read_bytes()).hexdigest()}
        found.save(folder)

    return Task(title=f'checkpoint {recipes.name(cell)}', folder=folder, done=target.is_file, prepare=convert)


def _masks_of(store: Path | None) -> str:
    """Segmenter and source of a store's masks, for a reader."""
    settings = MaskStore(store).settings
    preset = f' {settings["preset"]}' if 'preset' in settings else ''
    return f'{settings["segmenter"]}{preset}, {settings.get("source", "unknown source")}'
