"""Every change that the plugin makes to BasicSR itself; checked against BasicSR 1.4.2, its latest release.

Each function names the upstream fault or limitation, and leaves alone what already works. One more fault is fixed
before BasicSR can be imported at all: see :mod:`sapd_plugin.compat`.
"""

from __future__ import annotations

import functools
import sys
from typing import Any
from unittest import mock

import torch
from basicsr.models.base_model import BaseModel

from sapd_plugin.basicsr.launch import check_sooner
from sapd_plugin.basicsr.optimizers import build_optimizer
from sapd_plugin.basicsr.schedulers import CosineAnnealingRestartCyclicLR
from sapd_plugin.errors import check_keys


def apply_all() -> None:
    """Apply every patch, once; called when :mod:`sapd_plugin.basicsr` is imported."""
    allow_any_optimizer()
    allow_cyclic_schedule()
    allow_cpu_resume()
    check_options_sooner()


def allow_any_optimizer() -> None:
    """Let every model that keeps BasicSR's ``get_optimizer`` use any optimizer of torch, and clip gradients.

    BasicSR <= 1.4.2 raises NotImplementedError for all but Adam, and has no option to clip gradients.
    """
    BaseModel.get_optimizer = staticmethod(build_optimizer)


def allow_cyclic_schedule() -> None:
    """Let every model that keeps BasicSR's ``setup_schedulers`` use CosineAnnealingRestartCyclicLR.

    BasicSR <= 1.4.2 lacks this schedule of Restormer. It raises NotImplementedError for all but two of its own. An
    unknown key, lists of different lengths and empty ones raise SAPDError.
    """
    stock = BaseModel.setup_schedulers

    @functools.wraps(stock)
    def setup_schedulers(self: Any) -> None:
        settings = dict(self.opt['train']['scheduler'])
        if settings.pop('type', None) == CosineAnnealingRestartCyclicLR.__name__:
            check_keys('train.scheduler', settings, ('type', 'periods', 'restart_weights', 'eta_mins'))
            self.schedulers += [CosineAnnealingRestartCyclicLR(each, **settings) for each in self.optimizers]
        else:
            stock(self)

    BaseModel.setup_schedulers = setup_schedulers


def allow_cpu_resume() -> None:
    """Let BasicSR's train module resume on a machine without a GPU; with a GPU, nothing changes.

    BasicSR <= 1.4.2 needs a CUDA device in ``basicsr.train.load_resume_state``. The module may not be loaded yet
    when the plugin is imported, so :mod:`sapd_plugin.basicsr.train` calls this again.
    """
    if torch.cuda.is_available():
        return
    for name in ('__main__', 'basicsr.train'):
        module = sys.modules.get(name)
        stock = getattr(module, 'load_resume_state', None)
        if module is not None and stock is not None and not hasattr(stock, '__wrapped__'):
            module.load_resume_state = _on_cpu(stock)  # type: ignore[attr-defined]


def check_options_sooner() -> None:
    """Let BasicSR's train module check the options of a training with SAM priors before it makes any folder.

    BasicSR reads a resume state, makes folders and builds the data sets before it builds the model, which checks them
    again. As for :func:`allow_cpu_resume`, the module may be loaded later.
    """
    for name in ('__main__', 'basicsr.train'):
        check_sooner(sys.modules.get(name))


def _on_cpu(stock: Any) -> Any:
    @functools.wraps(stock)
    def load_resume_state(opt: dict[str, Any]) -> Any:
        load = torch.load

        def on_cpu(path: str, **_: Any) -> Any:
            return load(path, map_location='cpu')

        with (
            mock.patch.object(torch.cuda, 'current_device', return_value=0),
            mock.patch.object(torch, 'load', on_cpu),
        ):
            return stock(opt)

    return load_resume_state
