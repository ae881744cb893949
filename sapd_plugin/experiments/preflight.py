"""What runs need, checked before any of them begins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sapd_plugin.core import find_vgg
from sapd_plugin.errors import SAPDError
from sapd_plugin.experiments.run import Run
from sapd_plugin.experiments.tasks import read_published
from sapd_plugin.priors.segmenters import find_sam_checkpoint
from sapd_plugin.priors.store import MaskStore


def check(runs: Sequence[Run]) -> None:
    """Check that every input of the runs of one table exists, before any of them is started.

    Raises:
        SAPDError: a given store has other masks than an arm asks for; or images, weights of VGG-19 or SAM, or a
            published checkpoint that the runs need are missing.
    """
    settings, table = runs[0].settings, runs[0].table
    if settings.masks is not None:
        _check_store(settings.masks, runs)
    missing = _missing_images(runs)
    if missing:
        raise SAPDError(
            f'--data: {table.name} needs images in {", ".join(map(str, missing))}, found none there. '
            f'`{table.made_by}` makes these folders from the downloaded data sets.'
        )
    if any(run.arm.sgr is not None for run in runs) and find_vgg(settings.vgg) is None:
        raise SAPDError(
            '--vgg-checkpoint: SGR needs VGG-19 weights, found none, neither at $SAPD_VGG_CHECKPOINT nor in '
            "torch hub's cache. `sapd weights` says where they come from."
        )
    named = dict(zip(settings.segmenter[::2], settings.segmenter[1::2])).get('--checkpoint')
    uses_sam = any(run.mask_provider is not None and 'sam' in run.segmenter for run in runs)
    if uses_sam and find_sam_checkpoint(named) is None:
        raise SAPDError(
            "--sam-checkpoint: found no SAM weights, neither at $SAPD_SAM_CHECKPOINT nor in torch hub's cache. "
            '`sapd weights` says where they come from; --segmenter felzenszwalb needs none.'
        )
    for run in runs:
        if run.published is not None:
            read_published(run.published)


def _check_store(path: Path, runs: Sequence[Run]) -> None:
    found = MaskStore(path).settings
    for run in runs:
        for key, value in (('source', run.arm.masks.source), ('segmenter', run.arm.masks.segmenter)):
            if value is not None and found.get(key) != value:
                raise SAPDError(
                    f'--masks: {run.cell.arm} needs masks with {key} {value}, found {found.get(key)} in {path}. '
                    'Give theirs in a command of its own, or leave --masks out, and they are extracted.'
                )


def _missing_images(runs: Sequence[Run]) -> list[Path]:
    """Return the folders of images that are absent or empty; an LMDB of BasicSR is a folder, too."""
    sets = [*runs[0].test_sets, runs[0].validation]
    folders = [test_set.folder / kind for test_set in sets for kind in test_set.kinds]
    for run in runs:
        if not run.arm.published:
            folders += run.training_images.values()
            if run.mask_provider is not None:
                folders.append(run.mask_images)
            if run.store is not None and run.arm.masks.store is not None:
                folders.append(run.store)
    return [folder for folder in dict.fromkeys(folders) if not folder.is_dir() or not any(folder.iterdir())]
