"""A trained SAPD run of BasicSR: the student, and SPF, its teacher, on whole images."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sapd_plugin.compat import alias_functional_tensor
from sapd_plugin.core import ToRGB
from sapd_plugin.core.outputs import image_index, select_image
from sapd_plugin.core.spf import SPF
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.networks import build_network_from, load_student


class Teacher:
    """Student and SPF of one training, and where wanted a stock student to compare with.

    Args:
        config: the training's YAML.
        student: its ``net_g_*.pth``; EMA weights where there are such.
        spf: its ``net_spf_*.pth``.
        reference: another student of the same network.
        device: of torch.

    Raises:
        SAPDError: for a file that is missing or of something else, or a training on other than colour images.
    """

    def __init__(
        self, config: Path, student: Path, spf: Path, reference: Path | None = None, device: str = 'cpu'
    ) -> None:
        for name, path in (('--config', config), ('student', student), ('SPF', spf), ('--reference', reference)):
            if path is not None and not path.is_file():
                raise SAPDError(f'{name}: found no file {path}, expected one of a SAPD training.')
        opt = read_options(config)
        dataset = opt['datasets']['train']
        if dataset.get('color') not in (None, 'rgb'):
            raise SAPDError(f"{config}: datasets.train.color: found '{dataset['color']}', expected colour images.")
        self.device = torch.device(device)
        self.output_index = ((opt.get('train') or {}).get('sapd_opt') or {}).get('output_index')
        self._mean, self._std = dataset.get('mean') or (), dataset.get('std') or ()
        self._to_rgb = ToRGB(self._mean, self._std).to(self.device)
        self.student = load_student(build_network_from('basicsr', config), student).to(self.device)
        self.spf = load_student(_build_spf(opt, self.output_index, config), spf).to(self.device).eval()
        self.reference: nn.Module | None = None
        if reference is not None:
            self.reference = load_student(build_network_from('basicsr', config), reference).to(self.device)

    @torch.no_grad()
    def restore(self, image: np.ndarray, masks: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Restore an image whole: with the student, with the reference, and with SPF and each mask.

        Args:
            image: the degraded one, (h,w,3) uint8 RGB.
            masks: (H,W) integer label maps by the name that their result is to have.

        Returns:
            ``y``, ``stock`` where there is a reference, and an entry a mask: (H,W,3) float64 RGB in 0..1. SPF gets y as
            it is, before it is cut off to this range, as in training.

        Raises:
            SAPDError: where a network does not take the image, or a mask has another size than y.
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
            for name, labels in masks.items():
                mask = torch.from_numpy(labels.astype(np.int32))[None, None].to(self.device)
                found[name] = self.spf(y, mask)
        except RuntimeError as error:
            reason = ' '.join(str(error).split())[:300]
            raise SAPDError(f'an image of {image.shape[:2]} cannot be restored whole: {reason}') from error
        return {name: self._image(result) for name, result in found.items()}

    def _run(self, network: nn.Module, x: Tensor) -> Tensor:
        return select_image(network(x), image_index(network, self.output_index), 'network_g')

    def _image(self, result: Tensor) -> np.ndarray:
        return self._to_rgb(result)[0].clamp(0, 1).double().cpu().numpy().transpose(1, 2, 0)


def read_options(config: Path) -> dict[str, Any]:
    """Read a SAPD training's options as BasicSR does.

    Raises:
        SAPDError: for what is no YAML, or no training with SPF.
    """
    import yaml

    alias_functional_tensor()
    from basicsr.utils.options import ordered_yaml

    import sapd_plugin.basicsr  # noqa: F401  (the YAML may call a function of it)

    try:
        with config.open(encoding='utf-8') as file:
            opt = yaml.load(file, Loader=ordered_yaml()[0])
    except yaml.YAMLError as error:
        raise SAPDError(f'{config}: cannot be read ({error}), expected a BasicSR YAML.') from error
    for key in ('network_g', 'network_spf', 'datasets'):
        if not isinstance(opt, Mapping) or key not in opt:
            raise SAPDError(f"{config}: found no '{key}', expected the YAML of a training with SAM priors.")
    if 'train' not in opt['datasets']:
        raise SAPDError(f"{config}: found no 'datasets.train', expected the YAML of a training with SAM priors.")
    return dict(opt)


def find_run(folder: Path, config: Path | None) -> tuple[Path, Path, Path]:
    """Find YAML, student and SPF of BasicSR's ``experiments/NAME``.

    Args:
        folder: of the training: it holds ``models``.
        config: the YAML where it is elsewhere; None: BasicSR's copy of it in the folder.

    Raises:
        SAPDError: what is missing.
    """
    if config is None:
        # BasicSR copies the options to each training's folder.
        copies = sorted(folder.glob('*.yml'))
        if len(copies) != 1:
            raise SAPDError(f'{folder}: found {len(copies)} YAMLs, expected one; --config names the one to take.')
        config = copies[0]
    models = folder / 'models'
    return config, models / 'net_g_latest.pth', models / 'net_spf_latest.pth'


def _build_spf(opt: Mapping[str, Any], output_index: int | None, config: Path) -> SPF:
    """Build SPF as `sapd_plugin.basicsr.model` does for a training on colour images."""
    from basicsr.archs import build_network

    block = dict(deepcopy(opt['network_spf']))
    block.setdefault('network', deepcopy(opt['network_g']))
    block.setdefault('image_channels', 3)
    block.setdefault('output_index', output_index)
    try:
        return build_network(block)
    except (KeyError, TypeError, AttributeError) as error:
        raise SAPDError(f'{config}: network_spf cannot be built: {type(error).__name__}: {error}') from error
