"""The position of a training in its batches, so that a resumed run sees the patches of an uninterrupted one.

BasicSR's train_pipeline starts the interrupted epoch again, with new random states in the workers of the loader. Here,
each batch brings along the random state of the worker that made it. A resumed loader skips the batches of the epoch
that were used before, without reading them, and its workers continue from their random states. An uninterrupted run
draws what it drew before.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from basicsr.utils import get_root_logger
from torch.utils.data import DataLoader, get_worker_info

from sapd_plugin.basicsr.epochs import check_draws


class RandomState:
    """The states of this process's generators on the CPU: of Python, NumPy and torch."""

    def __init__(self) -> None:
        self.python = random.getstate()
        self.numpy: Any = np.random.get_state()
        # Not a tensor, which workers would pass on in shared memory.
        self.torch = torch.get_rng_state().numpy()

    def restore(self) -> None:
        """Set the generators to this state."""
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(torch.from_numpy(self.torch))

    def save(self) -> dict[str, Any]:
        """Return what :meth:`load` reads, made of what ``torch.load`` trusts."""
        algorithm, keys, *rest = self.numpy
        return {
            'torch': torch.from_numpy(self.torch),
            'numpy': [algorithm, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
            'python': self.python,
        }

    @classmethod
    def load(cls, saved: dict[str, Any]) -> RandomState:
        """Return the state that :meth:`save` described."""
        state = cls.__new__(cls)
        algorithm, keys, *rest = saved['numpy']
        state.numpy = (algorithm, keys.numpy().astype(np.uint32), *rest)
        version, internal, gauss = saved['python']
        state.python, state.torch = (version, tuple(internal), gauss), saved['torch'].numpy()
        return state


class Batches:
    """Follow the batches of one training, and start a resumed one where it ended.

    Two batches may be ahead of the training, or many: those that were loaded and not used are loaded again.
    """

    def __init__(self) -> None:
        self.loader: DataLoader[Any] | None = None
        self.used = 0  # of this epoch
        self.ahead: deque[RandomState | None] = deque()  # of each batch that is loaded: its worker's, or that before it
        self.workers: dict[int, RandomState] = {}  # after the last batch of each that was used
        self.created: RandomState | None = None  # before the loader's first epoch and before this one
        self.started: RandomState | None = None
        self._saved: dict[str, Any] | None = None
        self._main: RandomState | None = None

    def state(self) -> dict[str, Any]:
        """Return the position after the last batch that was used; empty if nothing tells how batches are loaded."""
        if self.loader is None or self.created is None or self.started is None:
            return {}
        loading = self.ahead[0] if self.ahead and not self.loader.num_workers else None
        return {
            **self._layout(),
            'used': self.used,
            'workers': {name: state.save() for name, state in self.workers.items()},
            'created': self.created.save(),
            'started': self.started.save(),
            'loading': None if loading is None else loading.save(),
        }

    def resume(self, saved: dict[str, Any], main: RandomState) -> None:
        """Let the loader that is made next start at a position.

        Args:
            saved: what :meth:`state` returned; empty if it was saved by an earlier version.
            main: the state of this process's generators when it was saved.
        """
        self._saved, self._main = saved, main

    def use(self) -> None:
        """Count a batch that the training uses."""
        if self.loader is None:
            if self._saved is not None:
                self._saved = None
                _warn('it does not load them as train_pipeline does')
            return
        if not self.ahead:  # a second step with the same batch
            return
        state, worker = self.ahead.popleft(), self.used % max(self.loader.num_workers, 1)
        if state is not None and self.loader.num_workers:
            self.workers[worker] = state
        self.used += 1

    def follow(self, loader: DataLoader[Any]) -> _Followed:
        """Return what train_pipeline may iterate over in place of a loader.

        Raises:
            SAPDError: it has no batches.
        """
        if not len(loader):
            check_draws(loader.batch_size or 1, len(loader.sampler))  # type: ignore[arg-type]
        self.loader = loader
        loader.collate_fn = _Collate(loader.collate_fn)
        return _Followed(self, loader)

    def begin(self, loader: DataLoader[Any]) -> Iterator[Any]:
        """Begin an epoch."""
        saved = self._saved
        if saved is None:
            return self._begin(loader)
        if reason := self._unlike(saved):
            self._saved = None
            _warn(reason)
            return self._begin(loader)
        if self.created is None:
            # train_pipeline makes an iterator at once and another at the first epoch: of the first, nothing is used.
            self.created = RandomState.load(saved['created'])
            if not self._replays(saved):
                return iter(())
            self.created.restore()
            return _Epoch(self, loader, iter(loader))
        self._saved = None
        return self._again(loader, saved)

    def _begin(self, loader: DataLoader[Any]) -> Iterator[Any]:
        self.used = 0
        self.ahead.clear()
        if not loader.persistent_workers:
            self.workers.clear()
        self.started = RandomState()
        self.created = self.created or self.started
        return _Epoch(self, loader, iter(loader))

    def _again(self, loader: DataLoader[Any], saved: dict[str, Any]) -> Iterator[Any]:
        """Begin the epoch that was interrupted, at the batch that follows."""
        self.used = used = saved['used']
        self.ahead.clear()
        self.started = RandomState.load(saved['started'])
        self.started.restore()
        if self._replays(saved):
            epoch: Iterator[Any] = iter(loader)
            skipped = used  # fewer than there are workers
        else:
            self.workers = {int(name): RandomState.load(state) for name, state in saved['workers'].items()}
            epoch, skipped = self._skipping(loader, used)
        for _ in range(skipped):
            batch = next(epoch)
            if self._replays(saved):
                self.workers[len(self.workers)] = batch[1]
        assert self._main is not None
        if saved['loading'] is None:
            self._main.restore()
            return _Epoch(self, loader, epoch)
        RandomState.load(saved['loading']).restore()  # the batch that had been loaded, then as the training was
        return _Epoch(self, loader, epoch, after_first=self._main)

    def _skipping(self, loader: DataLoader[Any], used: int) -> tuple[Iterator[Any], int]:
        """Start an epoch's iterator after ``used`` batches; return it and its number of empty batches in front.

        They let each worker make the batches that it would have made.
        """
        stock, init = loader.batch_sampler, loader.worker_init_fn
        empty = used % max(loader.num_workers, 1)
        # DataLoader refuses to set the first one after its creation.
        object.__setattr__(loader, 'batch_sampler', _From(stock, used, empty))
        loader.worker_init_fn = _Init(init, self.workers)
        try:
            return iter(loader), empty
        finally:
            object.__setattr__(loader, 'batch_sampler', stock)
            loader.worker_init_fn = init

    def _replays(self, saved: dict[str, Any]) -> bool:
        """Return whether to load the used batches again: some worker has not made any, so its state is unknown."""
        return len(saved['workers']) < min(saved['num_workers'], saved['batches'])

    def _layout(self) -> dict[str, int]:
        assert self.loader is not None
        assert self.loader.batch_size is not None
        return {
            'num_workers': self.loader.num_workers,
            'batch_size': self.loader.batch_size,
            'batches': len(self.loader),
            'persistent_workers': int(self.loader.persistent_workers),
        }

    def _unlike(self, saved: dict[str, Any]) -> str:
        if not saved:
            return 'its state was saved by an earlier version'
        now = self._layout()
        return ', '.join(f'{key} was {saved[key]} and is {now[key]}' for key in now if saved[key] != now[key])


class _Followed:
    """A loader whose epochs are followed."""

    def __init__(self, batches: Batches, loader: DataLoader[Any]) -> None:
        self.batches, self.loader = batches, loader

    def __iter__(self) -> Iterator[Any]:
        return self.batches.begin(self.loader)

    def __len__(self) -> int:
        return len(self.loader)


class _Epoch:
    """The batches of an epoch, as the loader makes them."""

    def __init__(
        self, batches: Batches, loader: DataLoader[Any], epoch: Iterator[Any], after_first: RandomState | None = None
    ) -> None:
        self.batches, self.loader, self.epoch, self.after_first = batches, loader, epoch, after_first

    def __iter__(self) -> _Epoch:
        return self

    def __next__(self) -> Any:
        before = None if self.loader.num_workers else RandomState()
        batch, state = next(self.epoch)
        self.batches.ahead.append(state or before)
        if self.after_first is not None:
            self.after_first.restore()
            self.after_first = None
        return batch


class _Collate:
    """Add the worker's random state to a batch; in the main process, None."""

    def __init__(self, stock: Any) -> None:
        self.stock = stock

    def __call__(self, samples: list[Any]) -> tuple[Any, RandomState | None]:
        state = None if get_worker_info() is None else RandomState()
        return (self.stock(samples) if samples else None), state


class _From:
    """The batches of a sampler; in the first epoch without the first ones, after some that are empty.

    Workers that are kept between epochs keep it, too.
    """

    def __init__(self, stock: Any, start: int, empty: int) -> None:
        self.stock, self.start, self.empty = stock, start, empty

    def __iter__(self) -> Iterator[list[int]]:
        # Not before the first batch is asked for: DataLoader makes one iterator that it does not use.
        start, empty, self.start, self.empty = self.start, self.empty, 0, 0
        yield from ([] for _ in range(empty))
        yield from itertools.islice(self.stock, start, None)

    def __len__(self) -> int:
        return len(self.stock)


class _Init:
    """Start workers with random states; without one, as BasicSR starts them."""

    def __init__(self, stock: Any, states: dict[int, RandomState]) -> None:
        self.stock, self.states = stock, states

    def __call__(self, worker: int) -> None:
        if self.stock is not None:
            self.stock(worker)
        if worker in self.states:
            self.states[worker].restore()


def _warn(reason: str) -> None:
    get_root_logger().warning(
        'The resumed run starts its epoch again and sees different patches from those of an uninterrupted run: '
        f'{reason}.'
    )


# The training that is being built. Its loader is older than it and BasicSR does not tell it.
_next: Batches | None = None


def expect(batches: Batches | None) -> None:
    """Follow the loader that a prefetcher takes next; None: do not."""
    global _next
    _next = batches


def followed(loader: DataLoader[Any]) -> Any:
    """Return what a prefetcher has to iterate over in place of ``loader``."""
    global _next
    batches, _next = _next, None
    return loader if batches is None else batches.follow(loader)
