"""Checkpoints of MMEngine that survive a kill: written to their end or not at all, and resumed only if whole.

MMEngine <= 0.10.7 writes a checkpoint in place, deletes the one that it replaces before, and resumes from what the file
``last_checkpoint`` names. So a kill while it saves leaves a run that cannot be resumed.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import mmengine.runner.runner
from mmengine.fileio import LocalBackend
from mmengine.hooks import CheckpointHook
from mmengine.logging import print_log
from mmengine.runner import CheckpointLoader, Runner

from sapd_plugin.core.archives import is_whole
from sapd_plugin.errors import SAPDError
from sapd_plugin.files import draft_of
from sapd_plugin.home import expanded
from sapd_plugin.mmagic.entry import ENTRY


def keep_checkpoints_whole() -> None:
    """Apply the changes to MMEngine, once; called when :mod:`sapd_plugin.mmagic` is imported."""
    LocalBackend.put = _atomically(LocalBackend.put)
    for name in ('_save_checkpoint_with_step', '_save_best_checkpoint'):
        setattr(CheckpointHook, name, _deleting_afterwards(getattr(CheckpointHook, name)))
    mmengine.runner.runner.find_latest_checkpoint = find_latest_checkpoint
    Runner.set_randomness = _seeded_as_before(Runner.set_randomness)


def _atomically(stock: Callable[..., None]) -> Callable[..., None]:
    """Let LocalBackend.put leave a file complete or unchanged, even after a crash."""

    @functools.wraps(stock)
    def put(self: LocalBackend, obj: bytes, filepath: str | Path) -> None:
        path = Path(filepath).resolve()
        if path.exists() and not path.is_file():  # such as a device
            return stock(self, obj, filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with draft_of(path) as file:
                file.write(obj)
        except OSError as error:
            error.filename = error.filename or str(filepath)  # of a full disk, it tells no name
            raise

    return put


def find_latest_checkpoint(path: str) -> str | None:
    """Return the newest whole checkpoint of a run, or None; replaces MMEngine's function, which trusts its note.

    What is skipped is logged.

    Args:
        path: the run's work_dir.
    """
    note = Path(path) / 'last_checkpoint'
    noted = note.read_text(encoding='utf-8').strip() if note.is_file() else ''
    if not is_local(noted):
        return noted
    last = Path(noted) if noted else None
    pattern = _NUMBERED if last is None else _like(last.name)
    candidates = _numbered(last.parent, pattern) if last is not None else []  # with out_dir, in a different folder
    if last is None or last.parent.resolve() != Path(path).resolve():
        candidates += _numbered(Path(path), pattern)  # or it was moved since the note was written
    for file in [*candidates, *([last] if last is not None and last not in candidates else [])]:
        if file.is_dir() or is_whole(file):  # DeepSpeed saves folders
            return str(file)
        print_log(f'{file} is skipped: it is missing or was not written to its end.', 'current', logging.WARNING)
    print_log('Did not find a checkpoint to be resumed.', 'current')
    return None


def checkpoint_to_resume(config: Mapping[str, Any], load_from: str | None, work_dir: str) -> str | None:
    """Return the checkpoint that a resumed run reads, or None if the run has to start from the beginning.

    MMEngine reads ``load_from``. In a second stage (``model.stage='two_stage'``), that is the stock student from which
    the run started; then it is the newest whole checkpoint in ``work_dir``.
    """
    second = (config.get('model') or {}).get('stage') == 'two_stage'
    if load_from and not (second and _is_students(load_from)):
        return load_from
    return find_latest_checkpoint(work_dir)


def _is_students(path: str) -> bool:
    if not is_local(path):
        return True
    file = expanded(path)
    return is_whole(file) and ENTRY not in CheckpointLoader.load_checkpoint(str(file), map_location='cpu')


def choose_resumed(runner: Any) -> None:
    """Let a runner resume from :func:`checkpoint_to_resume`; called before it reads a checkpoint.

    Afterwards, the runner's ``_load_from`` is what it reads, also if that is the latest checkpoint.

    Raises:
        SAPDError: a named checkpoint that is not whole.
    """
    if runner._resume:
        chosen = checkpoint_to_resume(runner.cfg, runner._load_from, runner.work_dir)
        runner._load_from, runner._resume = (chosen, True) if chosen else (runner._load_from, False)
    named = runner._load_from
    if named and is_local(named):
        path = expanded(named)
        if path.is_file() and not is_whole(path):
            newest = find_latest_checkpoint(str(path.parent))
            hint = f' The newest whole one is {newest}.' if newest else ''
            raise SAPDError(f'load_from: {named} was not written to its end, expected a whole checkpoint.{hint}')


def _seeded_as_before(stock: Callable[..., None]) -> Callable[..., None]:
    """Let a resumed run whose config has no seed take the seed of its start, before its sampler is built."""

    @functools.wraps(stock)
    def set_randomness(self: Runner, seed: int | None = None, *args: Any, **kwargs: Any) -> None:
        if seed is None and self.cfg.get('resume'):
            path = checkpoint_to_resume(self.cfg, self.cfg.get('load_from'), self.work_dir)
            if path is not None and is_local(path) and is_whole(expanded(path)):
                seed = _seed_of(CheckpointLoader.load_checkpoint(str(path), map_location='cpu'))
        stock(self, seed, *args, **kwargs)

    return set_randomness


def _seed_of(checkpoint: Any) -> int | None:
    """Return the seed of a checkpoint's run; None also of a foreign file, which is named when it is resumed from."""
    meta = checkpoint.get('meta') if isinstance(checkpoint, dict) else None
    return meta.get('seed') if isinstance(meta, dict) else None


def is_local(path: str) -> bool:
    """Return whether a path is one of this machine's and not a URL or a name of a model zoo."""
    return '://' not in str(path)


_NUMBERED = re.compile(r'(?:iter|epoch)_(\d+)\.pth')


def _numbered(folder: Path, pattern: re.Pattern[str]) -> list[Path]:
    """Return the files of a folder with such a name, that of the highest number first."""
    numbered = {file: int(found[1]) for file in folder.glob('*') if (found := pattern.fullmatch(file.name))}
    return sorted(numbered, key=lambda file: numbered[file], reverse=True)


def _like(name: str) -> re.Pattern[str]:
    """Return the pattern of checkpoints whose names differ from ``name`` in their last number."""
    found = re.search(r'\d+(?=\D*$)', name)
    if found is None:
        return _NUMBERED
    return re.compile(re.escape(name[: found.start()]) + r'(\d+)' + re.escape(name[found.end() :]))


def _deleting_afterwards(stock: Callable[..., None]) -> Callable[..., None]:
    """Let a CheckpointHook delete old checkpoints after the new one is saved."""

    @functools.wraps(stock)
    def save(self: CheckpointHook, *args: Any, **kwargs: Any) -> None:
        backend = self.file_backend
        if not isinstance(backend, LocalBackend):  # or it is a _Later, of the function that calls this one
            return stock(self, *args, **kwargs)
        self.file_backend = _Later(backend)
        try:
            stock(self, *args, **kwargs)
            self.file_backend.do()
        finally:
            self.file_backend = backend

    return save


class _Later:
    """A backend of this machine's files that deletes when it is told to, unless the file is a new one by then."""

    def __init__(self, backend: LocalBackend) -> None:
        self.backend, self.files = backend, dict[str, int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.files[path] = Path(path).stat().st_ino

    def do(self) -> None:
        for path, file in self.files.items():
            if Path(path).stat().st_ino == file:
                self.backend.remove(path)
