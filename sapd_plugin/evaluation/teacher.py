"""A trained SAPD run of BasicSR: the student and its teacher, SPF, on complete images."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sapd_plugin.core import ToRGB
from sapd_plugin.core.outputs import image_index, select_image
from sapd_plugin.core.spf import SPF
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.networks import build_network_from, load_student, read_basicsr
from sapd_plugin.priors.context import region_context
from sapd_plugin.priors.labels import LabelMap


@dataclass(frozen=True)
class Masks:
    """The masks of one image.

    Attributes:
        labels: (H,W) integer, 0 = no mask.
        context: (K+1,S) float, statistics of the whole photo's regions, for ``network_spf.context: image``; row k is
            that of label k. Needed if SPF reads them.
    """

    labels: np.ndarray
    context: np.ndarray | None = None

    @classmethod
    def of(cls, segmented: LabelMap, photo: np.ndarray) -> Masks:
        """Return the masks of a label map, with statistics of ``photo``, (H,W,3) uint8 RGB."""
        colors = segmented.with_colors(photo).colors
        assert colors is not None
        return cls(segmented.labels, region_context(segmented.regions, colors, segmented.labels.size))

    def tile(self, place: tuple[slice, slice]) -> Masks:
        """Return the masks of a part of the image."""
        return Masks(self.labels[place], self.context)


class Teacher:
    """Student and SPF of one training, and optionally a stock student to compare with.

    Args:
        config: the training's YAML.
        student: its ``net_g_*.pth``; the EMA weights are used if it has them.
        spf: its ``net_spf_*.pth``.
        reference: another student of the same network.
        device: device of torch.

    Raises:
        SAPDError: a file is missing or of a different kind, or the training was not on color images.
    """

    def __init__(
        self, config: Path, student: Path, spf: Path, reference: Path | None = None, device: str = 'cpu'
    ) -> None:
        for name, path in (('--config', config), ('student', student), ('SPF', spf), ('--reference', reference)):
            if path is not None and not path.is_file():
                raise SAPDError(f'{name}: found no file {path}, expected one of a SAPD training.')
        expected = 'the YAML of a training with SAM priors'
        opt = read_basicsr(config, ['network_spf', 'datasets'], expected)
        if not isinstance(opt['datasets'], Mapping) or not isinstance(opt['datasets'].get('train'), Mapping):
            raise SAPDError(f"{config}: found no 'datasets.train', expected {expected}.")
        dataset = opt['datasets']['train']
        # What a twin has to share: all of the training that is not a path or a name.
        self.training: dict[str, Any] = {'base_model_type': opt.get('base_model_type')} | {
            f'{block}.{key}': value
            for block in ('network_g', 'network_spf', 'train')
            for key, value in (opt.get(block) or {}).items()
        }
        if dataset.get('color') not in (None, 'rgb'):
            raise SAPDError(f"{config}: datasets.train.color: found '{dataset['color']}', expected color images.")
        self.device = torch.device(device)
        self.output_index = ((opt.get('train') or {}).get('sapd_opt') or {}).get('output_index')
        self._mean, self._std = dataset.get('mean') or (), dataset.get('std') or ()
        self._to_rgb = ToRGB(self._mean, self._std).to(self.device)
        self.student = self._load(config, student)
        self.spf = _build_spf(opt, self.output_index, config)
        load_student(self.spf, spf)
        self.spf.to(self.device).eval()
        self.reference = None if reference is None else self._load(config, reference)

    def _load(self, config: Path, checkpoint: Path) -> nn.Module:
        return load_student(build_network_from('basicsr', config), checkpoint).to(self.device)

    @torch.no_grad()
    def restore(self, image: np.ndarray, masks: Mapping[str, Masks]) -> dict[str, np.ndarray]:
        """Restore a complete image with the student, with the reference, and with SPF and each mask.

        Args:
            image: degraded image, (h,w,3) uint8 RGB.
            masks: by the names of their results.

        Returns:
            ``y``, ``stock`` if there is a reference, and one entry per mask: (H,W,3) float64 RGB in 0..1. As in
            training, SPF gets y before it is clamped to this range.

        Raises:
            SAPDError: a network does not take the image, or the size of a mask differs from that of y.
        """
        x = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))[None].float().to(self.device) / 255
        for values, operation in ((self._mean, torch.sub), (self._std, torch.div)):
            if values:
                x = operation(x, x.new_tensor(values).view(1, -1, 1, 1))
        try:
            y = self._run(self.student, x)
            found = {'y': y}
            if self.reference is not None:
                found['stock'] = self._run(self.reference, x)
            for name, of_image in masks.items():
                mask = torch.from_numpy(of_image.labels.astype(np.int32))[None, None].to(self.device)
                context = None
                if self.spf.needs_context and of_image.context is not None:
                    context = torch.from_numpy(of_image.context)[None].float().to(self.device)
                found[name] = self.spf(y, mask, x, context)
        except RuntimeError as error:
            reason = ' '.join(str(error).split())[:300]
            raise SAPDError(f'an image of {image.shape[:2]} cannot be restored in one piece: {reason}') from error
        return {name: self._image(result) for name, result in found.items()}

    def _run(self, network: nn.Module, x: Tensor) -> Tensor:
        return select_image(network(x), image_index(network, self.output_index), 'network_g')

    def _image(self, result: Tensor) -> np.ndarray:
        return self._to_rgb(result)[0].clamp(0, 1).double().cpu().numpy().transpose(1, 2, 0)


def find_run(folder: Path, config: Path | None) -> tuple[Path, Path, Path]:
    """Return the paths of the YAML, the student and the SPF of BasicSR's ``experiments/NAME``.

    Without ``config`` the YAML is the copy that BasicSR puts into each training's folder.

    Raises:
        SAPDError: the folder does not contain exactly one YAML.
    """
    if config is None:
        copies = sorted(folder.glob('*.yml'))
        if len(copies) != 1:
            raise SAPDError(f'{folder}: found {len(copies)} YAMLs, expected one; --config chooses one.')
        config = copies[0]
    models = folder / 'models'
    return config, models / 'net_g_latest.pth', models / 'net_spf_latest.pth'


def _build_spf(opt: Mapping[str, Any], output_index: int | None, config: Path) -> SPF:
    """Build SPF as `sapd_plugin.basicsr.model` does for a training on color images."""
    from basicsr.archs import build_network

    defaults = {'network': opt['network_g'], 'image_channels': 3, 'output_index': output_index}
    try:
        return build_network(deepcopy({**defaults, **opt['network_spf']}))
    except (KeyError, TypeError, AttributeError) as error:
        raise SAPDError(f'{config}: network_spf cannot be built: {type(error).__name__}: {error}') from error
