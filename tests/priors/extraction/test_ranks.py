from __future__ import annotations

import pytest

from sapd_plugin.errors import SAPDError
from sapd_plugin.priors.extraction.ranks import Rank, find_rank, rank_device

TORCHRUN = {'RANK': '5', 'WORLD_SIZE': '8', 'LOCAL_RANK': '1'}


def slurm(task: int, low: int, high: int, count: int) -> dict[str, str]:
    names = ('ID', 'MIN', 'MAX', 'COUNT')
    return {f'SLURM_ARRAY_TASK_{name}': str(value) for name, value in zip(names, (task, low, high, count))}


def test_one_process_does_all() -> None:
    assert find_rank(None, {}) == find_rank(None, slurm(3, 0, 7, 8)) == Rank(0, 1, None)


def test_torchrun_shares_the_images() -> None:
    assert find_rank(None, TORCHRUN) == Rank(5, 8, 1)
    assert str(find_rank(None, TORCHRUN)) == 'rank 5/8'
    assert find_rank('3/4', {'RANK': '0', 'WORLD_SIZE': '1'}) == Rank(3, 4)


@pytest.mark.parametrize('text', ['4', '4/4', '-1/4', 'a/b', '1/', '/4', '1/2/3', 'slurmm'])
def test_shard_texts_are_checked(text: str) -> None:
    assert find_rank('3/4', {}) == Rank(3, 4)
    with pytest.raises(SAPDError, match='expected i/n with i from 0 to n-1'):
        find_rank(text, {})


def test_shard_beside_torchrun_is_refused() -> None:
    with pytest.raises(SAPDError, match=r"found '0/4' beside torchrun's RANK 5 of WORLD_SIZE 8"):
        find_rank('0/4', TORCHRUN)


@pytest.mark.parametrize(
    ('environment', 'message'),
    [
        ({'RANK': '8', 'WORLD_SIZE': '8'}, 'RANK: found 8 beside WORLD_SIZE 8'),
        ({'RANK': 'x', 'WORLD_SIZE': '8'}, "RANK: found 'x', expected an integer >= 0"),
        ({'RANK': '0', 'WORLD_SIZE': '2', 'LOCAL_RANK': ''}, "LOCAL_RANK: found ''"),
    ],
)
def test_a_broken_environment_is_named(environment: dict[str, str], message: str) -> None:
    with pytest.raises(SAPDError, match=message):
        find_rank(None, environment)


@pytest.mark.parametrize(
    ('environment', 'rank'),
    [(slurm(0, 0, 7, 8), Rank(0, 8)), (slurm(9, 1, 13, 4), Rank(2, 4)), (slurm(3, 3, 3, 1), Rank(0, 1))],
)
def test_slurm_arrays_are_numbered_from_zero(environment: dict[str, str], rank: Rank) -> None:
    assert find_rank('slurm', environment) == rank


def test_slurm_arrays_with_gaps_are_refused() -> None:
    with pytest.raises(SAPDError, match='found task 5 of 3 tasks from 0 to 7, expected an array without gaps'):
        find_rank('slurm', slurm(5, 0, 7, 3))
    with pytest.raises(SAPDError, match="SLURM_ARRAY_TASK_ID: found ''"):
        find_rank('slurm', {})


def test_each_rank_of_a_machine_has_its_gpu() -> None:
    assert rank_device('cuda', Rank(5, 8, 1), 4) == 'cuda:1'
    assert rank_device('cuda:3', Rank(5, 8, 1), 4) == 'cuda:3'
    assert rank_device('cpu', Rank(5, 8, 1), 0) == 'cpu'
    assert rank_device('cuda', Rank(1, 2), 1) == 'cuda'
    # The segmenter says that there is none.
    assert rank_device('cuda', Rank(5, 8, 1), 0) == 'cuda'
    with pytest.raises(SAPDError, match='LOCAL_RANK: found 2 on a machine with 2 GPUs.*--nproc-per-node 2'):
        rank_device('cuda', Rank(2, 3, 2), 2)
