"""What cells need, looked for before anything begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sapd_plugin.core import find_vgg
from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.segmenters import find_sam_checkpoint
from tables.cells import Cell
from tables.checkpoints import read_published
from tables.recipes import Recipes


def check(recipes: Recipes, cells: Sequence[Cell]) -> None:
    """Refuse to begin what cannot end.

    Raises:
        SAPDError: images, weights of VGG-19 or SAM, or a published checkpoint that the cells need are absent.
    """
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
    cut = [arm for arm in arms if arm.has_priors and settings.masks is None and 'store' not in arm.masks]
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
            if arm.has_priors and 'store' in arm.masks:
                folders.append(data / arm.masks['store'])
    # An LMDB of BasicSR's is a folder, too.
    return [folder for folder in dict.fromkeys(folders) if not folder.is_dir() or not any(folder.iterdir())]
