"""A small folder of table definitions for tests, results to put into it, and tasks that note what they do."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import yaml

from sapd_plugin.experiments.catalogue import Catalogue, Cell, read_catalogue
from sapd_plugin.experiments.results import Results
from sapd_plugin.experiments.runner import Task

MODELS = {
    'RCAN': {
        'paper': 'its paper',
        'page': 'its page',
        'type': {'basicsr': ['RCAN']},
        'sizes': {'tiny': {'basicsr': {'num_feat': 8, 'num_group': 1, 'num_block': 1, 'squeeze_factor': 2}}},
    },
    'Restormer': {
        'paper': 'its paper',
        'page': 'its page',
        'type': {'mmagic': ['Restormer']},
        'checkpoints': {'Rain13K': 'deraining.pth'},
        'sizes': {
            'tiny': {
                'mmagic': {'dim': 4, 'num_blocks': [1, 1, 1, 1], 'num_refinement_blocks': 1, 'heads': [1, 1, 2, 2]}
            }
        },
    },
}
TABLE = {
    'title': 'Deraining, a trial',
    'task': 'derain',
    'train': 'Rain13K',
    'tests': {'Rain100L': 'Rain13K/test/Rain100L'},
    'protocol': 'y',
    'sizes': ['full', 'tiny'],
    'seeds': [0, 1, 2],
    'models': {
        'RCAN': {'basicsr': 'derain/rcan_rain13k_stock.yml'},
        'Restormer': {'mmagic': 'derain/restormer_rain13k_stock.py', 'gpus': 8},
    },
    'yardsticks': [{'model': 'RCAN', 'test': 'Rain100L', 'psnr': 36.0, 'source': 'A paper & its table_1'}],
}


def definitions(folder: Path, table: dict[str, Any] | None = None) -> Path:
    """Write a table ``trial`` with its models; the arms are the shipped ones."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / 'models.yml').write_text(yaml.safe_dump(MODELS))
    (folder / 'trial.yml').write_text(yaml.safe_dump(table or TABLE))
    return folder


def catalogue(folder: Path, **changes: Any) -> Catalogue:
    """Read it, with keys of the table changed."""
    return read_catalogue(definitions(folder, {**TABLE, **changes}))


def result(root: Path, arm: str, seed: int, psnr: float, model: str = 'RCAN', **training: Any) -> Results:
    """Save a result of the tiny size."""
    framework = 'basicsr' if model == 'RCAN' else 'mmagic'
    cell = Cell(framework, 'trial', model, 'tiny', arm, seed)
    tests = {
        'Rain100L': {'psnr': psnr, 'ssim': psnr / 100, 'protocol': 'y', 'quantise': 'round', 'sigma': None, 'images': 3}
    }
    masks = None if arm == 'stock' else 'sam fast, restored'
    training = {'iterations': 300000, 'as_published': True, 'masks': masks, **training}
    found = Results(
        cell,
        training,
        tests,
        {'parameters': 1234, 'macs': 5.5e9, 'milliseconds': 250.0, 'memory': 3 << 20, 'over_stock': None},
    )
    found.save(cell.folder(root))
    return found


class Note(Task):
    """Appends its title to a log file; it is done once the title is there."""

    def __init__(self, title: str, folder: Path, log: Path, seconds: float = 0.0) -> None:
        super().__init__(title, folder)
        self.log, self.seconds = log, seconds

    def done(self) -> bool:
        return self.log.is_file() and self.title in self.log.read_text().splitlines()

    def work(self) -> None:
        time.sleep(self.seconds)
        with self.log.open('a') as file:
            file.write(f'{self.title}\n')
