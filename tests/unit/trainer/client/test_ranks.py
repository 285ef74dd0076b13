"""A process's rank: from arguments, from an initialised framework, or from what started the process."""

from types import SimpleNamespace
from typing import Any

import pytest

from penstock.protocol.errors import SpecError
from penstock.trainer.client.ranks import find_local_rank, find_rank

TORCHRUN = {"RANK": "3", "WORLD_SIZE": "4"}
STEP = {"SLURM_PROCID": "1", "SLURM_STEP_NUM_TASKS": "2"}


def torch_says(rank: int, world_size: int) -> dict[str, Any]:
    """Return the modules of a process in which torch.distributed is initialised."""
    distributed = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: True,
        get_rank=lambda: rank,
        get_world_size=lambda: world_size,
    )
    return {"torch.distributed": distributed}


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (0, 1)),
        (TORCHRUN, (3, 4)),
        (STEP, (1, 2)),
        ({"OMPI_COMM_WORLD_RANK": "0", "OMPI_COMM_WORLD_SIZE": "8"}, (0, 8)),
        ({"PMI_RANK": "5", "PMI_SIZE": "6"}, (5, 6)),
        (TORCHRUN | STEP, (3, 4)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_STEP_NUM_TASKS": "1"}, (0, 1)),
        ({"RANK": "3"}, (0, 1)),
    ],
    ids=["nothing", "torchrun", "Slurm", "Open MPI", "MPI", "torchrun on Slurm", "a batch script", "half of a pair"],
)
def test_the_launcher_tells_the_rank(environ: dict[str, str], expected: tuple[int, int]) -> None:
    """A batch script of Slurm runs once, whatever the number of tasks that its steps will have."""
    found = find_rank(None, None, environ, {})
    assert expected == (found.rank, found.world_size)


def test_arguments_win() -> None:
    """Over the framework and over the launcher."""
    found = find_rank(0, 2, TORCHRUN, torch_says(3, 4))
    assert (0, 2) == (found.rank, found.world_size)


def test_an_initialised_framework_wins_over_the_launcher_of_a_node() -> None:
    """Where Slurm numbers the nodes, torch.distributed numbers the processes."""
    found = find_rank(None, None, STEP, torch_says(7, 16))
    assert (7, 16) == (found.rank, found.world_size)


@pytest.mark.parametrize(
    ("arguments", "environ", "modules", "said"),
    [
        ((None, None), TORCHRUN, torch_says(1, 2), r"torch.distributed says rank 1 of 2, torchrun \(RANK = '3'"),
        ((None, 8), TORCHRUN, {}, "world_size = 8, but torchrun .* says 4"),
        ((2, None), {}, {}, "rank = 2 without world_size"),
        ((None, 2), {}, {}, "world_size = 2 without rank"),
        ((2, 2), {}, {}, "rank = 2 with world_size = 2 .*from 0 to world_size - 1"),
        ((None, None), {"RANK": "first", "WORLD_SIZE": "2"}, {}, "RANK = 'first'.*not whole numbers"),
        ((None, None), {"PMI_RANK": "2", "PMI_SIZE": "2"}, {}, "rank = 2 with world_size = 2"),
    ],
)
def test_contradictions_are_errors_in_words(
    arguments: tuple[int | None, int | None], environ: dict[str, str], modules: dict[str, Any], said: str
) -> None:
    """The message says which two contradict each other, with their values."""
    with pytest.raises(SpecError, match=said):
        find_rank(*arguments, environ, modules)


def test_one_of_several_ranks_does_not_silently_train_on_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """A local stack is one process's own: a rank is told to share a stack, unless it says what it means."""
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SpecError, match=r"rank 3 of 4 by torchrun.*penstock up"):
        find_local_rank(None, None)
    assert (0, 1) == (find_local_rank(0, 1).rank, find_local_rank(0, 1).world_size)
