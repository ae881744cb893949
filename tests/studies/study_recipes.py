"""Made-up results for the tests of the study."""

from __future__ import annotations

from typing import Any

from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.results import Results


def made_up(
    table: str,
    arm: str,
    seed: int,
    psnr: float,
    *,
    model: str = 'RCAN',
    framework: str = 'basicsr',
    size: str = 'tiny',
    tests: tuple[str, ...] = ('val',),
    **training: Any,
) -> Results:
    """A finished cell."""
    about = {'protocol': 'y', 'quantise': 'round', 'sigma': None, 'images': 3}
    masks = {} if arm.startswith('stock') else {'masks': 'sam fast, restored'}
    return Results(
        Cell(framework, table, model, size, arm, seed),
        {'iterations': 300, 'as_published': False, 'seconds': 12.5, 'finished': True, **masks, **training},
        {test: {'psnr': psnr, 'ssim': psnr / 100, **about} for test in tests},
        {
            'parameters': 1234,
            'macs': 5_500_000,
            'milliseconds': 250.125,
            'memory': 3 << 20,
            'shape': [1, 3, 256, 256],
            'device': 'cpu',
            'threads': 1,
        },
        {'commit': 'abcdef0123456789', 'torch': '2.5.1', 'basicsr': '1.4.2'},
    )


def arms(table: str = 'mini_derain', **values: list[float]) -> list[Results]:
    """A cell for each value of each arm, seeds counted from 0."""
    return [made_up(table, arm, seed, psnr) for arm, found in values.items() for seed, psnr in enumerate(found)]
