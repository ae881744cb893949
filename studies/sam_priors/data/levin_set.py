"""Writing what is made of Levin's data: the kernels as they are used, and the test set of real photos."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from sapd_plugin.datasets.files import open_workshop
from sapd_plugin.datasets.finishing import say
from sapd_plugin.datasets.placing import refuse_strangers
from sapd_plugin.datasets.progress import run_jobs
from sapd_plugin.datasets.synthetic.blur import read_kernels
from sapd_plugin.datasets.synthetic.job import check_record
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.images import read_image
from studies.sam_priors.data.levin import Shake, align, overlap


def write_kernels(folder: Path, kernels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Write kernels as 8-bit pictures, so that images can be made again from their recorded parameters.

    Returns:
        The kernels as `read_kernels` reads them from these pictures.

    Raises:
        SAPDError: where other kernels are there.
    """
    pictures = {name: np.rint(255 * kernel / kernel.max()).astype(np.uint8) for name, kernel in kernels.items()}
    paths = {name: folder / f'{name}.png' for name in kernels}
    refuse_strangers(set(paths.values()))
    for name, path in paths.items():
        if path.exists() and not np.array_equal(read_image(path)[..., 0], pictures[name]):
            raise SAPDError(f'{path}: found another kernel, expected that of --levin; remove it or change --output.')
    left = [name for name, path in paths.items() if not path.exists()]
    with open_workshop(folder) as workshop:
        say(f'{folder.parent.name}/{folder.name}: {len(kernels)} kernels', len(left), workshop)
        for name in left:
            workshop.write_image(paths[name], np.repeat(pictures[name][..., None], 3, axis=2))
    return read_kernels(folder)


def make_levin_set(folder: Path, shakes: Mapping[str, Shake], kernels: Mapping[str, np.ndarray], workers: int) -> None:
    """Write ``folder/{input,target}/NAME.png`` and parameters.json with each photo's alignment.

    Args:
        folder: of the split.
        shakes: the photos by name.
        kernels: turned and centred, by name.
        workers: threads.

    Raises:
        SAPDError: for images that do not fit, or a folder of something else.
    """
    found = {name: align(shake, kernels[shake.kernel]) for name, shake in shakes.items()}
    paths = {name: [folder / side / f'{name}.png' for side in ('input', 'target')] for name in shakes}
    refuse_strangers({path for both in paths.values() for path in both})
    images = {
        name: {'photo': shake.photo.name, 'sharp': shake.sharp.name, 'kernel': shake.kernel, **asdict(found[name])}
        for name, shake in shakes.items()
    }
    record = json.loads(json.dumps({'degradation': 'real camera shake', 'images': images}))
    check_record(folder / 'parameters.json', record)
    left = [name for name, both in paths.items() if not all(path.exists() for path in both)]
    with open_workshop(folder.parent) as workshop:
        say(f'{folder.parent.name}/{folder.name}: {len(shakes)} pairs of real photos', len(left), workshop)
        for side in ('input', 'target'):
            (folder / side).mkdir(parents=True, exist_ok=True)
        workshop.write_text(folder / 'parameters.json', json.dumps(record, indent=1) + '\n')

        def make(name: str) -> None:
            for path, image in zip(paths[name], overlap(shakes[name], found[name].shift)):
                workshop.write_image(path, image)

        if left:
            run_jobs(make, left, workers, 'real photos')
