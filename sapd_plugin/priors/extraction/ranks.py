"""The part of the images that this process segments, set by --shard, torchrun's environment or a SLURM array."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sapd_plugin.errors import SAPDError


@dataclass(frozen=True)
class Rank:
    """One of the processes that share the images; rank i takes every n-th image from the i-th on.

    Attributes:
        index: i, from 0.
        count: n.
        local: number of this process on its machine, from 0; None if no launcher sets it.
    """

    index: int = 0
    count: int = 1
    local: int | None = None

    def __str__(self) -> str:
        return f'rank {self.index}/{self.count}'


def find_rank(shard: str | None, environment: Mapping[str, str]) -> Rank:
    """Return the rank of this process.

    Args:
        shard: 'i/n', 'slurm' for the task of a SLURM job array, or None for torchrun's RANK and WORLD_SIZE, if set.
        environment: the process's environment variables.

    Raises:
        SAPDError: an invalid --shard or environment variable, or --shard under torchrun.

    >>> find_rank('1/4', {})
    Rank(index=1, count=4, local=None)
    >>> find_rank(None, {'RANK': '3', 'WORLD_SIZE': '8', 'LOCAL_RANK': '1'})
    Rank(index=3, count=8, local=1)
    """
    launched = 'RANK' in environment and 'WORLD_SIZE' in environment
    if shard is None:
        return _torchrun(environment) if launched else Rank()
    if launched and environment['WORLD_SIZE'] != '1':
        raise SAPDError(
            f"--shard: found {shard!r} with torchrun's RANK {environment['RANK']} of WORLD_SIZE "
            f'{environment["WORLD_SIZE"]}, expected only one of them: torchrun itself divides the images.'
        )
    if shard == 'slurm':
        return _slurm(environment)
    first, slash, second = shard.partition('/')
    if not (slash and first.isdecimal() and second.isdecimal() and int(first) < int(second)):
        raise SAPDError(f"--shard: found {shard!r}, expected i/n with i from 0 to n-1, for example 0/4, or 'slurm'.")
    return Rank(int(first), int(second))


def rank_device(device: str, rank: Rank, gpus: int) -> str:
    """Assign one of ``gpus`` GPUs to each local rank: 'cuda' becomes 'cuda:1' for local rank 1. Keep other devices.

    Ranks beyond the number of GPUs share them in turn: while one rank waits for the disk, the other uses the GPU.

    >>> rank_device('cuda', Rank(1, 8, 1), 4), rank_device('cuda', Rank(5, 8, 5), 4), rank_device('cpu', Rank(), 4)
    ('cuda:1', 'cuda:1', 'cpu')
    """
    if device != 'cuda' or rank.local is None or not gpus:
        return device
    return f'cuda:{rank.local % gpus}'


def _torchrun(environment: Mapping[str, str]) -> Rank:
    index, count = _number(environment, 'RANK'), _number(environment, 'WORLD_SIZE')
    local = _number(environment, 'LOCAL_RANK') if 'LOCAL_RANK' in environment else None
    if index >= count:
        raise SAPDError(f'RANK: found {index} with WORLD_SIZE {count}, expected a smaller number.')
    return Rank(index, count, local)


def _slurm(environment: Mapping[str, str]) -> Rank:
    names = ('SLURM_ARRAY_TASK_ID', 'SLURM_ARRAY_TASK_MIN', 'SLURM_ARRAY_TASK_MAX', 'SLURM_ARRAY_TASK_COUNT')
    task, low, high, count = (_number(environment, name) for name in names)
    # An array may have a step (--array=0-12:4). In one with gaps, the tasks have no consecutive numbers.
    step, rest = divmod(high - low, max(count - 1, 1))
    if rest or (task - low) % max(step, 1):
        raise SAPDError(
            f'--shard slurm: found task {task} of {count} tasks from {low} to {high}, expected an array without gaps, '
            'such as --array=0-7.'
        )
    return Rank((task - low) // max(step, 1), count)


def _number(environment: Mapping[str, str], name: str) -> int:
    text = environment.get(name, '')
    if not text.isdecimal():
        raise SAPDError(f'environment variable {name}: found {text!r}, expected an integer >= 0.')
    return int(text)
