"""What cells need, looked for before anything begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sapd_plugin.core import find_vgg
from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.catalogue import Cell
from sapd_plugin.experiments.checkpoints import read_published
from sapd_plugin.experiments.run import Recipes
from sapd_plugin.priors.segmenters import find_sam_checkpoint
from sapd_plugin.priors.store import MaskStore


def check(recipes: Recipes, cells: Sequence[Cell]) -> None:
    """Refuse to begin what cannot end.

    Raises:
        SAPDError: a store of other masks than an arm asks for was given; or images, weights of VGG-19 or SAM, or a
            published checkpoint that the cells need are absent.
    """
    _check_store(recipes, cells)
    missing = _missing_data(recipes, cells)
    if missing:
        raise SAPDError(
            f'--data: {recipes.table.name} needs images in {", ".join(map(str, missing))}, found none there. '
            f'{recipes.table.made_by} makes these folders from the downloaded data sets.'
        )
    settings = recipes.settings
    arms = [recipes.arm(cell) for cell in cells]
    if any(arm.sgr is not None for arm in arms) and find_vgg(settings.vgg) is None:
        raise SAPDError(
            '--vgg-checkpoint: SGR needs VGG-19 weights, found none, neither at $SAPD_VGG_CHECKPOINT nor in '
            "torch hub's cache. tools/weights.py says where they come from."
        )
    cut = [arm for arm in arms if arm.has_priors and settings.masks is None and arm.masks.store is None]
    if any('sam' in recipes.segmenter(arm) for arm in cut):
        named = dict(zip(settings.segmenter[::2], settings.segmenter[1::2])).get('--checkpoint')
        if find_sam_checkpoint(named) is None:
            raise SAPDError(
                "--sam-checkpoint: found no SAM weights, neither at $SAPD_SAM_CHECKPOINT nor in torch hub's cache. "
                'tools/weights.py says where they come from; --segmenter felzenszwalb needs none.'
            )
    for cell, arm in zip(cells, arms):
        if arm.published:
            read_published(recipes.checkpoint(cell))


def _check_store(recipes: Recipes, cells: Sequence[Cell]) -> None:
    """Refuse a finished store that says that its masks are others than an arm names."""
    path = recipes.settings.masks
    if path is None:
        return
    for cell in cells:
        named = {key: value for key, value in recipes.arm(cell).masks.items() if key in ('source', 'segmenter')}
        found = MaskStore(path).settings if named else {}
        for key, value in named.items():
            if found.get(key) != value:
                raise SAPDError(
                    f'--masks: {cell.arm} needs masks with {key} {value}, found {found.get(key)} in {path}. '
                    'Give theirs in a command of its own, or leave --masks out, and they are cut.'
                )


def _missing_data(recipes: Recipes, cells: Sequence[Cell]) -> list[Path]:
    """List the folders of images that the cells need and that are absent or empty."""
    table, data = recipes.table, recipes.settings.data
    folders = [
        test_set.folder / kind for test_set in [*recipes.test_sets, recipes.validation] for kind in test_set.kinds
    ]
    for cell in cells:
        if not recipes.arm(cell).published:
            folders += recipes.training_folders(cell)
            arm = recipes.arm(cell)
            if table.mask_images and arm.has_priors:
                folders.append(data / table.mask_images)
            if arm.has_priors and arm.masks.store is not None:
                folders.append(data / arm.masks.store)
    # An LMDB of BasicSR's is a folder, too.
    return [folder for folder in dict.fromkeys(folders) if not folder.is_dir() or not any(folder.iterdir())]
