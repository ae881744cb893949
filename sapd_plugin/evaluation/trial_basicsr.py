"""A BasicSR training up to its first steps, built by BasicSR's and the adapter's own functions."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from unittest import mock

from basicsr.data import build_dataset
from basicsr.models import build_model
from basicsr.utils import get_root_logger
from basicsr.utils.options import parse_options
from torch.utils.data import default_collate

from sapd_plugin.basicsr.base_models import base_model_class
from sapd_plugin.basicsr.dataset_options import check_places
from sapd_plugin.basicsr.delta import is_sapd, stock_options
from sapd_plugin.basicsr.launch import build_checked
from sapd_plugin.basicsr.misplaced import block_at
from sapd_plugin.basicsr.option_kinds import check_sections
from sapd_plugin.basicsr.options import check_options, parse_yaml
from sapd_plugin.errors import SAPDError
from sapd_plugin.evaluation.step_cost import ALL_ALIKE, Training, count_parameters, step_kinds
from sapd_plugin.evaluation.trial import LoadedData, Trial, from_the_start
from sapd_plugin.home import expanded
from sapd_plugin.texts import read_text


class BasicSRTrial(Trial):
    """The training of a YAML; anything that BasicSR writes goes to an empty ``folder``.

    Raises:
        SAPDError: the YAML cannot be read.
    """

    def __init__(self, config: Path, folder: Path, batch: int | None) -> None:
        options = parse_yaml(read_text(config, 'a BasicSR YAML'))
        sapd = is_sapd(options)
        if sapd:
            check_sections(options)
        command = [sys.argv[0], '-opt', str(config)]
        try:
            with mock.patch.object(sys, 'argv', command), contextlib.redirect_stdout(io.StringIO()):
                self._options, _ = parse_options(str(folder), is_train=True)
        except (KeyError, TypeError, AttributeError) as error:
            raise SAPDError(f'{config}: BasicSR cannot read it: {type(error).__name__}: {error}') from error
        # Nothing of this has been checked yet: that is the first finding.
        size = 1
        with contextlib.suppress(TypeError, ValueError):
            size = int(block_at(self._options, 'datasets.train').get('batch_size_per_gpu', 1))
        sgr, online = (dict(block_at(self._options, f'train.{key}')) for key in ('sgr_opt', 'sapd_opt.online'))
        super().__init__(sapd, sgr, online, size, batch)
        self._devices = self._options['num_gpu']
        self._options['num_gpu'] = int(self.device.type == 'cuda')

    def check_wiring(self) -> str:
        """Check the options as SAPDModel does."""
        check_options(self._options)
        base = base_model_class(self._options)
        names = f'{base.__name__} with {self._options["network_g"]["type"]}'
        if isinstance(self._devices, int) and self._devices > 1:  # which training refuses without a launcher
            return f'{names}; num_gpu {self._devices} needs torchrun --nproc_per_node, and --launcher pytorch.'
        return names

    def folders(self) -> dict[str, Path]:
        """Return the folders of the ``dataroot_*`` keys, which training reads."""
        check_places(self._options)
        return {
            f'datasets.{phase}.{key}': expanded(value)
            for phase, dataset in self._options['datasets'].items()
            for key, value in dataset.items()
            if key.startswith('dataroot') and isinstance(value, str) and '://' not in value
        }

    def load_data(self) -> LoadedData:
        """Build the data sets as training does, and load one batch."""
        with _quiet():
            built = {
                phase: build_checked(build_dataset, dataset, self._options)
                for phase, dataset in self._options['datasets'].items()
            }
        dataset = built['train']
        self._data = default_collate([dataset[index % len(dataset)] for index in range(self.batch)])
        texts = [getattr(dataset, name, '') for name in ('mask_note', 'mask_warning')]
        return LoadedData(len(dataset), getattr(dataset, 'store', None), *texts)

    def build(self, stock: bool) -> Training:
        """Build the model."""
        options = deepcopy(self._options)
        for key in ('spd_opt', 'sgr_opt'):
            options['train'][key] = from_the_start(options['train'].get(key))
        with _quiet():
            model = build_model(stock_options(options) if stock else options)

        def step(iteration: int) -> None:
            model.feed_data(self._data)
            model.optimize_parameters(iteration)

        if stock:
            return Training(step, ALL_ALIKE)
        self.parameters = {'student': count_parameters(model.net_g), 'SPF': count_parameters(model.net_spf)}
        return Training(step, step_kinds(model.distiller))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide BasicSR's listing of options, networks and second names."""
    logger = get_root_logger(log_level=logging.ERROR)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)
