"""Preparation of a dataset: check, link, cut, LMDBs, meta files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from sapd_plugin.datasets.checks import CheckedSplit, check_dataset
from sapd_plugin.datasets.files import Workshop, open_workshop
from sapd_plugin.datasets.finishing import Finish, finish_split, say
from sapd_plugin.datasets.manifest import Manifest, SubImages
from sapd_plugin.datasets.placing import missing_placements, place, plan_placements
from sapd_plugin.errors import check_choice


def prepare(
    manifest: Manifest,
    source: Path,
    output: Path,
    splits: list[str] | None,
    way: str,
    finish: Finish,
    cut: SubImages | bool,
    any_count: bool,
    verify: bool,
    dry_run: bool,
) -> None:
    """Prepare a dataset, or resume an interrupted run.

    Args:
        manifest: the dataset.
        source: the downloaded folder.
        output: the folder of all prepared datasets.
        splits: names of the splits to prepare; None prepares all.
        way: symlink, hardlink or copy.
        finish: LMDBs and threads; its ``cut`` is ignored.
        cut: sub-images of the training split: True for the settings of the authors, False for none, or settings.
        any_count: accept a part of the dataset.
        verify: decode every image.
        dry_run: check, and print what would be done.

    Raises:
        SAPDError: all problems of the source, before anything is written.
    """
    for name in splits or []:
        check_choice('--split', name, manifest.splits)
    checked = check_dataset(manifest, splits or list(manifest.splits), source, any_count, verify, finish.workers)
    for result in checked:
        for scan in result.scans:
            print(f'{manifest.folder}/{result.split.name}: {len(scan.entries)} images ({scan.describe()})')
    folder = output / manifest.folder

    def make_all(workshop: Workshop | None) -> None:
        for result in checked:
            own = result.split.sub_images if cut is True else cut or None
            if not result.split.name.startswith('train'):
                own = None
            _prepare_split(result, folder / result.split.name, way, replace(finish, cut=own), workshop)

    if dry_run:
        make_all(None)
        return
    with open_workshop(folder) as workshop:
        make_all(workshop)


def _prepare_split(result: CheckedSplit, folder: Path, way: str, finish: Finish, workshop: Workshop | None) -> None:
    placements = plan_placements(result.entries, folder)
    left = missing_placements(placements, way)
    label = f'{folder.parent.name}/{folder.name}'
    say(f'{label}: {len(placements)} files ({way})', len(left), workshop)
    if left and workshop is not None:
        place(left, way, workshop, finish.workers, f'{label}: {way}')
    # What is decoded and written anew has three channels.
    encoded = {placement.path.stem for placement in placements if placement.encode}
    shapes = {name: (*shape[:2], 3) if name in encoded else shape for name, shape in result.shapes.items()}
    finish_split(folder, placements, shapes, finish, workshop)
