from __future__ import annotations

import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.ranks import Rank, find_rank, rank_device

TORCHRUN = {'RANK': '5', 'WORLD_SIZE': '8', 'LOCAL_RANK': '1'}


def slurm(task: int, low: int, high: int, count: int) -> dict[str, str]:
    names = ('ID', 'MIN', 'MAX', 'COUNT')
    return {f'SLURM_ARRAY_TASK_{name}': str(value) for name, value in zip(names, (task, low, high, count))}


@pytest.mark.parametrize(
    ('shard', 'environment', 'rank'),
    [
        (None, {}, Rank(0, 1, None)),
        (None, slurm(3, 0, 7, 8), Rank(0, 1, None)),
        (None, TORCHRUN, Rank(5, 8, 1)),
        ('3/4', {}, Rank(3, 4)),
        ('3/4', {'RANK': '0', 'WORLD_SIZE': '1'}, Rank(3, 4)),
        ('slurm', slurm(0, 0, 7, 8), Rank(0, 8)),
        ('slurm', slurm(9, 1, 13, 4), Rank(2, 4)),
        ('slurm', slurm(3, 3, 3, 1), Rank(0, 1)),
    ],
)
def test_the_rank_is_found(shard: str | None, environment: dict[str, str], rank: Rank) -> None:
    assert find_rank(shard, environment) == rank


@pytest.mark.parametrize(
    ('shard', 'environment', 'message'),
    [
        *(
            (shard, {}, 'i/n with i from 0 to n-1')
            for shard in ('4', '4/4', '-1/4', 'a/b', '1/', '/4', '1/2/3', 'slurmm')
        ),
        ('0/4', TORCHRUN, r"found '0/4' with torchrun's RANK 5 of WORLD_SIZE 8"),
        (None, {'RANK': '8', 'WORLD_SIZE': '8'}, 'RANK: found 8 with WORLD_SIZE 8'),
        (None, {'RANK': 'x', 'WORLD_SIZE': '8'}, "RANK: found 'x', expected an integer >= 0"),
        (None, {'RANK': '0', 'WORLD_SIZE': '2', 'LOCAL_RANK': ''}, "LOCAL_RANK: found ''"),
        ('slurm', slurm(5, 0, 7, 3), 'found task 5 of 3 tasks from 0 to 7, expected an array without gaps'),
        ('slurm', {}, "SLURM_ARRAY_TASK_ID: found ''"),
    ],
)
def test_mistakes_are_named(shard: str | None, environment: dict[str, str], message: str) -> None:
    with pytest.raises(SAPDError, match=message):
        find_rank(shard, environment)


def test_each_rank_of_a_machine_has_its_gpu() -> None:
    assert rank_device('cuda', Rank(5, 8, 1), 4) == 'cuda:1'
    assert rank_device('cuda:3', Rank(5, 8, 1), 4) == 'cuda:3'
    assert rank_device('cpu', Rank(5, 8, 1), 0) == 'cpu'
    assert rank_device('cuda', Rank(1, 2), 1) == 'cuda'
    # The segmenter says that there is none.
    assert rank_device('cuda', Rank(5, 8, 1), 0) == 'cuda'


def test_more_ranks_than_gpus_share_them() -> None:
    devices = [rank_device('cuda', Rank(local, 4, local), 2) for local in range(4)]
    assert devices == ['cuda:0', 'cuda:1', 'cuda:0', 'cuda:1']
