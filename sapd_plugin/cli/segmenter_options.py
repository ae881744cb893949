"""The segmenter on a command line: its name, checkpoint, preset, settings and device."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.ranks import Rank, rank_device
from sapd_plugin.priors.segmenters import SEGMENTERS, Segmenter, build_segmenter


def add_segmenter_options(parser: argparse.ArgumentParser) -> None:
    """Add --segmenter, --checkpoint, --preset, --device and --set."""
    parser.add_argument('--segmenter', required=True, help=', '.join(SEGMENTERS))
    parser.add_argument('--checkpoint', type=Path, help='SAM: the checkpoint file')
    parser.add_argument('--preset', help='SAM: fast (default) or stock')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...; by default a GPU where there is one')
    parser.add_argument(
        '--set', action='append', default=[], metavar='KEY=VALUE', dest='settings', help="a segmenter's setting"
    )


def choose_device(options: argparse.Namespace, rank: Rank, others: bool = False) -> str | None:
    """The named device, else a GPU where torch finds one; each rank of a machine its own. None: nothing asks for it.

    Args:
        options: with those of `add_segmenter_options`.
        rank: of this process.
        others: whether the command uses the device for more than the segmenter.
    """
    if options.device is None and not others and not _takes_device(options.segmenter):
        return None
    import torch

    device = options.device or ('cuda' if torch.cuda.is_available() else 'cpu')
    return rank_device(device, rank, torch.cuda.device_count())


def build_from_options(options: argparse.Namespace, device: str | None, others: bool = False) -> Segmenter:
    """Build the segmenter; the values of --set are JSON, or else text. The arguments are those of `choose_device`.

    Raises:
        SAPDError: for an unknown segmenter or setting, and whatever the segmenter refuses.
    """
    settings: dict[str, Any] = {}
    for item in options.settings:
        key, equals, value = item.partition('=')
        if not equals:
            raise SAPDError(f'--set: found {item!r}, expected key=value.')
        try:
            settings[key] = json.loads(value)
        except ValueError:
            settings[key] = value
    if options.checkpoint is not None:
        settings['checkpoint'] = str(options.checkpoint)
    if options.preset is not None:
        settings['preset'] = options.preset
    # A segmenter that takes none refuses --device, unless that is for something else.
    if _takes_device(options.segmenter) or (options.device is not None and not others):
        settings.setdefault('device', device)
    return build_segmenter(options.segmenter, **settings)


def describe(segmenter: Segmenter, device: str | None) -> Iterable[str]:
    """Say which segmenter it is, a line each for its settings and its checkpoint."""
    preset = f', preset {segmenter.settings["preset"]}' if 'preset' in segmenter.settings else ''
    yield f'segmenter: {segmenter.settings["segmenter"]}{preset} {segmenter.settings["parameters"]}'
    if 'checkpoint_sha256' in segmenter.settings:
        checkpoint = getattr(segmenter, 'checkpoint', '')
        yield f'checkpoint: {checkpoint} sha256 {segmenter.settings["checkpoint_sha256"]}, device {device}'


def _takes_device(segmenter: str) -> bool:
    factory = SEGMENTERS.get(segmenter)
    return factory is not None and 'device' in inspect.signature(factory).parameters
