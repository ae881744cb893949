"""Which of a run's saved states can be resumed: those whose files are all whole.

A killed process or a full disk leaves states with files that are missing or cut short.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sapd_plugin.basicsr.options import parse_yaml
from sapd_plugin.core.archives import is_whole
from sapd_plugin.errors import SAPDError
from sapd_plugin.files import delete_drafts


def choose(opt: dict[str, Any]) -> Path | None:
    """Return the training state to resume: that of ``path.resume_state``, or the newest whole one of --auto_resume.

    All processes of a distributed training choose the same. What is skipped is printed, since there is no log yet.

    Raises:
        SAPDError: ``path.resume_state`` is not whole.
    """
    if not opt['auto_resume']:
        named = opt['path'].get('resume_state')
        if named and (problem := problem_of(opt, Path(named))):
            newest = _newest_whole(opt)
            hint = f' The newest whole state is {newest}.' if newest is not None else ''
            raise SAPDError(f'path.resume_state: {named} is not whole: {problem}, expected all files of a save.{hint}')
        return Path(named) if named else None
    chosen = _newest_whole(opt)
    if opt['rank'] == 0:
        for state in _states(opt):
            if chosen is not None and _iteration(state) <= _iteration(chosen):
                break
            print(f'{state} is skipped: {problem_of(opt, state)}.', flush=True)
        for key in ('models', 'training_states'):
            delete_drafts(Path(opt['path'][key]))
    return chosen


def problem_of(opt: Mapping[str, Any], state: Path) -> str:
    """Return what keeps a training state from being resumed, or an empty string."""
    path = opt['path']
    ignored = path.get('ignore_resume_networks') or ()
    models, iteration = Path(path['models']), state.name.partition('.')[0]
    files = [state]
    for key in opt:
        name = str(key).removeprefix('network_')
        # BasicSR expects a file for each block, also for one that the model does not use and never saves.
        if str(key).startswith('network_') and key not in ignored and any(models.glob(f'net_{name}_*.pth')):
            files.append(models / f'net_{name}_{iteration}.pth')
    ours = state.with_suffix(f'.sapd.rank{opt["rank"]}')
    if any(state.parent.glob(f'*.sapd.rank{opt["rank"]}')):
        files.append(ours)
    for file in files:
        if not file.is_file():
            return f'{file} is missing'
        if not is_whole(file):
            return f'{file} was not written to its end'
    return ''


def seed_is_given() -> bool:
    """Return whether the options that this process was started with have a ``manual_seed``, or BasicSR drew one."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument('-opt', type=Path)
    options = parser.parse_known_args()[0].opt
    return options is None or parse_yaml(options.read_text(encoding='utf-8')).get('manual_seed') is not None


def _newest_whole(opt: dict[str, Any]) -> Path | None:
    whole = {_iteration(state) for state in _states(opt) if not problem_of(opt, state)}
    if opt.get('dist'):
        found: list[set[int] | None] = [None] * opt['world_size']
        torch.distributed.all_gather_object(found, whole)
        whole = set.intersection(*(each or set() for each in found))
    return max((state for state in _states(opt) if _iteration(state) in whole), key=_iteration, default=None)


def _states(opt: Mapping[str, Any]) -> list[Path]:
    """Return the states of a run, the newest first."""
    folder = Path(opt['path']['training_states'])
    return sorted((each for each in folder.glob('*.state') if _iteration(each) >= 0), key=_iteration, reverse=True)


def _iteration(state: Path) -> int:
    found = re.fullmatch(r'(\d+)\.state', state.name)
    return int(found[1]) if found else -1
