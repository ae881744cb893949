"""Every change that the plugin makes to BasicSR itself; checked against BasicSR 1.4.2, its latest release.

Each function names the upstream fault or limitation, and leaves alone what already works. One more fault is fixed
before BasicSR can be imported at all: see :mod:`sapd_plugin.compat`.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from typing import Any
from unittest import mock

import torch
from basicsr.data.paired_image_dataset import PairedImageDataset
from basicsr.data.prefetch_dataloader import CPUPrefetcher, CUDAPrefetcher
from basicsr.models.base_model import BaseModel

from sapd_plugin.basicsr.batches import expect, followed
from sapd_plugin.basicsr.launch import check_sooner
from sapd_plugin.basicsr.optimizers import build_optimizer
from sapd_plugin.basicsr.pairs import named_pair
from sapd_plugin.basicsr.resume import saved_seed
from sapd_plugin.basicsr.schedulers import CosineAnnealingRestartCyclicLR
from sapd_plugin.basicsr.states import choose, seed_is_given
from sapd_plugin.core.archives import atomic
from sapd_plugin.errors import SAPDError, check_keys, describe


def apply_all() -> None:
    """Apply every patch, once; called when :mod:`sapd_plugin.basicsr` is imported."""
    allow_any_optimizer()
    allow_cyclic_schedule()
    write_whole_files()
    follow_batches()
    name_images()
    resume_whole_states()
    check_options_sooner()  # last, because each wraps the one before, and the check needs the state that is found


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


def write_whole_files() -> None:
    """Let a model's files be complete or absent: BasicSR <= 1.4.2 writes in place, so a kill leaves half a file."""
    for name in ('save_network', 'save_training_state'):
        setattr(BaseModel, name, _whole(getattr(BaseModel, name)))


def _whole(stock: Any) -> Any:
    @functools.wraps(stock)
    def save(self: Any, *args: Any, **kwargs: Any) -> None:
        with mock.patch.object(torch, 'save', atomic(torch.save)):
            stock(self, *args, **kwargs)

    return save


def follow_batches() -> None:
    """Let a SAPDModel know which batches its training has used: BasicSR <= 1.4.2 resumes at the start of an epoch."""
    for prefetcher in (CPUPrefetcher, CUDAPrefetcher):
        prefetcher.__init__ = _following(prefetcher.__init__)


def _following(stock: Any) -> Any:
    @functools.wraps(stock)
    def init(self: Any, loader: Any, *args: Any, **kwargs: Any) -> None:
        source = followed(loader)
        try:
            stock(self, source, *args, **kwargs)
        except (AssertionError, RuntimeError) as error:  # of torch, which makes a stream
            if torch.cuda.is_available() or not isinstance(self, CUDAPrefetcher):
                raise
            raise SAPDError(f"datasets.train.prefetch_mode: 'cuda' needs a GPU ({describe(error)[:200]}).") from error

    return init


def name_images() -> None:
    """Let the stock data set of pairs name the images that it cannot load.

    BasicSR <= 1.4.2 ends in a TypeError or AttributeError without a file, for a validation image after hours.
    """
    stock = PairedImageDataset.__getitem__

    @functools.wraps(stock)
    def load(self: Any, index: int) -> Any:
        with named_pair(f'datasets.{self.opt.get("phase")}', self.paths[index]):
            return stock(self, index)

    PairedImageDataset.__getitem__ = load


def resume_whole_states() -> None:
    """Let BasicSR's train module resume the newest whole state of a run, and do so without a GPU, too.

    BasicSR <= 1.4.2 takes the newest state even if a kill has cut it short, looks for it in the working folder and
    writes elsewhere, needs a CUDA device, and draws a new seed if the options have none. The module may not be loaded
    yet when the plugin is imported, so :mod:`sapd_plugin.basicsr.train` calls this again.
    """
    for name in ('__main__', 'basicsr.train'):
        module = sys.modules.get(name)
        stock = getattr(module, 'load_resume_state', None)
        if module is not None and stock is not None and not hasattr(stock, 'sapd_resumes'):
            module.load_resume_state = _resuming(stock)  # type: ignore[attr-defined]


def check_options_sooner() -> None:
    """Let BasicSR's train module check the options of a training with SAM priors before it makes any folder.

    BasicSR reads a resume state, makes folders and builds the data sets before it builds the model, which checks them
    again. As for :func:`resume_whole_states`, the module may be loaded later.
    """
    for name in ('__main__', 'basicsr.train'):
        check_sooner(sys.modules.get(name))


def _resuming(stock: Any) -> Any:
    @functools.wraps(stock)
    def load_resume_state(opt: dict[str, Any]) -> Any:
        expect(None)  # no training of this process is under way
        state, automatic = choose(opt), opt['auto_resume']
        opt['path']['resume_state'] = None if state is None else str(state)
        if state is None:
            return None
        seed = saved_seed(state, opt['rank'])
        if seed is not None and not seed_is_given():
            opt['manual_seed'] = seed
        opt['auto_resume'] = False  # it is found already
        try:
            with contextlib.ExitStack() as patched:
                if not torch.cuda.is_available():
                    patched.enter_context(mock.patch.object(torch.cuda, 'current_device', return_value=0))
                    patched.enter_context(mock.patch.object(torch, 'load', _on_cpu(torch.load)))
                return _checked(stock, opt)
        finally:
            opt['auto_resume'] = automatic

    load_resume_state.sapd_resumes = True  # type: ignore[attr-defined]
    return load_resume_state


def _checked(load: Any, opt: dict[str, Any]) -> Any:
    """Load a training state, and name one that is not BasicSR's. Raises SAPDError."""
    path, keys = opt['path']['resume_state'], ('epoch', 'iter', 'optimizers', 'schedulers')
    hint = "Expected NUMBER.state of a run's training_states; weights alone belong to path.pretrain_network_g."
    try:
        state = load(opt)
        kinds = [type(state[key]) for key in keys]
    except Exception as error:  # of whatever the file holds
        raise SAPDError(
            f'path.resume_state: {path} is not a training state of BasicSR ({describe(error)[:400]}). {hint}'
        ) from error
    if kinds != [int, int, list, list]:
        raise SAPDError(
            f'path.resume_state: {path} is not a training state of BasicSR: its entries {keys} differ. {hint}'
        )
    return state


def _on_cpu(load: Any) -> Any:
    def on_cpu(path: str, **_: Any) -> Any:
        return load(path, map_location='cpu')

    return on_cpu
