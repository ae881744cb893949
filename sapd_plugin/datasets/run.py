"""Preparation of a dataset: check, link, cut into sub-images, LMDBs, meta files, and the list of images to mask."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from sapd_plugin.datasets.checks import CheckedSplit, Shape, check_dataset
from sapd_plugin.datasets.databases import is_made, make_database
from sapd_plugin.datasets.files import Workshop, open_workshop
from sapd_plugin.datasets.manifest import Manifest, SubImages
from sapd_plugin.datasets.placing import Placement, missing_placements, place, plan_placements
from sapd_plugin.datasets.sub_images import cut_images, missing_cuts, plan_cuts
from sapd_plugin.errors import check_choice

MASK_IMAGES = 'mask_images.txt'


@dataclass(frozen=True)
class Finish:
    """What to make of a split besides its images (sub-images, LMDBs), and the number of threads."""

    cut: SubImages | None
    lmdb: bool
    workers: int


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
        splits: names of the splits to prepare; None means all.
        way: symlink, hardlink or copy.
        finish: LMDBs and threads; its ``cut`` is ignored.
        cut: sub-images of the training split: True for the settings of the authors, False for none, or settings.
        any_count: as for `check_dataset`.
        verify: as for `check_dataset`.
        dry_run: whether to check and print what would be done, without writing.

    Raises:
        SAPDError: all problems of the source, before anything is written.
    """
    for name in splits or []:
        check_choice('--split', name, manifest.splits)
    checked = check_dataset(manifest, splits or list(manifest.splits), source, any_count, verify, finish.workers)
    for result in checked:
        for scan in result.scans:
            print(f'{manifest.folder}/{result.name}: {len(scan.entries)} images ({scan.describe()})')
    folder = output / manifest.folder
    for result in checked:  # before anything is written to a folder that may be someone else's
        missing_placements(plan_placements(result.entries, folder / result.name), way)
    with nullcontext() if dry_run else open_workshop(folder) as workshop:
        for result in checked:
            own = None
            if result.name.startswith('train'):
                own = manifest.sub_images if cut is True else cut or None
            _prepare_split(result, folder / result.name, way, replace(finish, cut=own), workshop)


def _prepare_split(result: CheckedSplit, folder: Path, way: str, finish: Finish, workshop: Workshop | None) -> None:
    placements = plan_placements(result.entries, folder)
    left = missing_placements(placements, way)
    label = f'{folder.parent.name}/{folder.name}'
    say(f'{label}: {len(placements)} files ({way})', len(left), workshop)
    if left and workshop is not None:
        place(left, way, workshop, finish.workers, f'{label}: {way}')
    # Images that are decoded and encoded again have three channels.
    encoded = {placement.path.stem for placement in placements if placement.encode}
    shapes = {name: (*shape[:2], 3) if name in encoded else shape for name, shape in result.shapes.items()}
    finish_split(folder, placements, shapes, finish, workshop)


def finish_split(
    folder: Path, placements: list[Placement], shapes: dict[str, Shape], finish: Finish, workshop: Workshop | None
) -> None:
    """Make the missing files of a split's folder; without a workshop, print what would be made."""
    label = '/'.join(folder.parts[-2:])
    sides = _by_side([placement.path for placement in placements])
    _write_meta(folder / 'meta_info.txt', sides['target'], shapes, workshop)
    used, used_shapes = sides, shapes
    if finish.cut is not None:
        cuts = plan_cuts(placements, shapes, finish.cut)
        left = missing_cuts(cuts, folder, finish.cut)
        count, total = (sum(map(len, some.values())) for some in (left, cuts))
        say(f'{label}: {total} sub-images of {finish.cut.size}, step {finish.cut.step}', count, workshop)
        if left and workshop is not None:
            cut_images(left, folder, finish.cut, workshop, finish.workers, f'{label}: sub-images')
        parts = [part for found in cuts.values() for part in found]
        used = _by_side([path for path, _ in parts])
        used_shapes = {path.stem: (window[2], window[3], 3) for path, window in parts}
        _write_meta(folder / 'meta_info_sub.txt', used['target'], used_shapes, workshop)
    if finish.lmdb:
        for images in used.values():
            database = folder / f'{images[0].parent.name}.lmdb'
            made = is_made(database, images)
            say(f'{label}: {database.name} of {len(images)} images', 0 if made else len(images), workshop)
            if not made and workshop is not None:
                make_database(database, images, used_shapes, workshop)
    if folder.name == 'train':
        _announce_masks(folder, used.get('input', used['target']), workshop)


def say(what: str, left: int, workshop: Workshop | None) -> None:
    """Print one line of the plan: the result, and how much of it is left to do."""
    todo = 'done' if not left else f'{left} to do' if workshop is not None else f'would make {left}'
    print(f'{what}: {todo}')


def _by_side(paths: list[Path]) -> dict[str, list[Path]]:
    sides: dict[str, list[Path]] = {}
    for path in sorted(paths):
        sides.setdefault(path.parent.name.removesuffix('_sub'), []).append(path)
    return sides


def _write_meta(path: Path, images: list[Path], shapes: dict[str, Shape], workshop: Workshop | None) -> None:
    """Write BasicSR's meta file, one line ``name.png (h,w,c)`` per image; it is MMagic's ann_file as well."""
    if workshop is not None:
        lines = ['{} ({},{},{})\n'.format(image.name, *shapes[image.stem]) for image in images]
        workshop.write_text(path, ''.join(lines))


def _announce_masks(folder: Path, images: list[Path], workshop: Workshop | None) -> None:
    listed = folder / MASK_IMAGES
    if workshop is not None:
        workshop.write_text(listed, ''.join(f'{image.name}\n' for image in images))
    store = folder.parents[1] / 'masks' / f'{folder.parent.name}_train'
    degraded = images[0].parent.name.startswith('input')
    how = '--restored-by STOCK_CONFIG STOCK_WEIGHTS' if degraded else '--source clean'
    print(
        'Extract the masks next:\n'
        f'sapd extract-masks --images {listed} --root {images[0].parent} --output {store} \\\n'
        f'    --segmenter sam --checkpoint SAM_WEIGHTS {how}'
    )
