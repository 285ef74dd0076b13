"""Finds this process's rank and the world size: from arguments, the framework or the launcher.

Launchers of the ranks of a job (torchrun, Slurm's `srun`, `mpirun`, Ray Train) tell each process its rank, so the
program need not. Arguments win over everything. A framework that is initialised wins over the environment, and must not
contradict the launcher that started it.
"""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from penstock.protocol.errors import SpecError

#: Launchers: their name, and the variables that hold rank and world size, the first one found wins. torchrun comes
#: before Slurm: where Slurm starts one torchrun a node, Slurm's numbers are those of the nodes. Of a Slurm job, only
#: a step has ranks: the batch script itself runs once, whatever the number of tasks.
_LAUNCHERS = (
    ("torchrun", "RANK", "WORLD_SIZE"),
    ("Slurm", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("Open MPI", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    ("MPI", "PMI_RANK", "PMI_SIZE"),
)


@dataclass(frozen=True, slots=True)
class Rank:
    """A process's place among those that share a stream."""

    #: 0 to `world_size` - 1.
    rank: int
    world_size: int
    #: Where the numbers come from, for messages.
    origin: str


def find_rank(
    rank: int | None,
    world_size: int | None,
    environ: Mapping[str, str] | None = None,
    modules: Mapping[str, Any] | None = None,
) -> Rank:
    """Return the rank and world size to subscribe with; 0 of 1 by default.

    `rank` and `world_size` are arguments; what is None comes from an initialised `torch.distributed` or
    `jax.distributed`, or from the environment of torchrun (Ray Train sets the same), Slurm, or MPI. Raises SpecError
    if numbers are no ranks, contradict one another, or one of the two cannot be found.
    """
    if rank is not None and world_size is not None:
        return _checked(Rank(rank, world_size, "arguments"))
    found = _found(os.environ if environ is None else environ, sys.modules if modules is None else modules)
    if rank is None and world_size is None:
        return found or Rank(0, 1, "default")
    if found is None:
        if rank is None and world_size == 1:
            return Rank(0, 1, "arguments")
        given, missing = ("world_size", "rank") if rank is None else ("rank", "world_size")
        raise SpecError(
            f"{given} = {world_size if rank is None else rank} without {missing}, and neither torch.distributed, jax "
            f"nor the environment of a launcher tells it: give {missing} too"
        )
    if rank is None and world_size != found.world_size:
        raise SpecError(
            f"world_size = {world_size}, but {found.origin} says {found.world_size}: give rank too, or neither of both"
        )
    chosen = found.rank if rank is None else rank
    return _checked(Rank(chosen, found.world_size, f"arguments and {found.origin}"))


def find_local_rank(rank: int | None, world_size: int | None) -> Rank:
    """Return the rank and world size for a feed of a stack that this process started for itself: 0 of 1 by default.

    Raises SpecError if this is one of several ranks and the arguments do not say which.
    """
    found = find_rank(rank, world_size)
    if rank is None and world_size is None and found.world_size > 1:
        raise SpecError(
            f"this process is rank {found.rank} of {found.world_size} by {found.origin}, but a local stack serves the "
            "process that started it: run `penstock up` once and give every rank penstock.connect(); or give rank = 0, "
            "world_size = 1 for a feed of all batches"
        )
    return found


def _found(environ: Mapping[str, str], modules: Mapping[str, Any]) -> Rank | None:
    """Return the framework's numbers, or else the launcher's. Raises SpecError if they contradict each other."""
    framework = _of_torch(modules) or _of_jax(modules)
    launcher = _of_launcher(environ)
    if framework and launcher and launcher.origin.startswith("torchrun"):
        told, started = (framework.rank, framework.world_size), (launcher.rank, launcher.world_size)
        if told != started:
            raise SpecError(
                f"{framework.origin} says rank {told[0]} of {told[1]}, {launcher.origin} says rank {started[0]} of "
                f"{started[1]}: give rank and world_size as arguments"
            )
    return framework or launcher


def _of_torch(modules: Mapping[str, Any]) -> Rank | None:
    distributed = modules.get("torch.distributed")
    if distributed is None or not distributed.is_available() or not distributed.is_initialized():
        return None
    return Rank(distributed.get_rank(), distributed.get_world_size(), "torch.distributed")


def _of_jax(modules: Mapping[str, Any]) -> Rank | None:
    # Asking for the process index starts jax's backends: only a program that did so already is asked.
    jax = modules.get("jax")
    initialized: Callable[[], bool] | None = getattr(getattr(jax, "distributed", None), "is_initialized", None)
    if jax is None or initialized is None or not initialized():
        return None
    return Rank(jax.process_index(), jax.process_count(), "jax.distributed")


def _of_launcher(environ: Mapping[str, str]) -> Rank | None:
    for name, rank, world_size in _LAUNCHERS:
        if rank in environ and world_size in environ:
            origin = f"{name} ({rank} = {environ[rank]!r}, {world_size} = {environ[world_size]!r})"
            try:
                return _checked(Rank(int(environ[rank]), int(environ[world_size]), origin))
            except ValueError:
                raise SpecError(f"{origin}: not whole numbers; give rank and world_size as arguments") from None
    return None


def _checked(found: Rank) -> Rank:
    if not 0 <= found.rank < found.world_size:
        raise SpecError(
            f"rank = {found.rank} with world_size = {found.world_size} ({found.origin}): ranks go from 0 to "
            "world_size - 1"
        )
    return found
