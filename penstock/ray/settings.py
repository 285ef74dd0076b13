"""What actors of a stack are given: frozen records of plain values, which Ray sends to other nodes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

#: A sink on every node where ranks read.
PER_NODE: Literal["per-node"] = "per-node"
#: How many sinks a stack has.
SinkCount = int | Literal["per-node"]


@dataclass(frozen=True, slots=True)
class StackSettings:
    """What the actor of the services runs."""

    #: The stack's own, which no other stack has.
    token: str
    spec: str
    #: Addresses as other nodes reach them; the actor binds the same ports again when it is restarted.
    ventilator: str
    results: str
    trainers: str
    #: Key bundles by role.
    keys: Mapping[str, str]
    roots: Mapping[str, str]
    #: Fewest and most workers; if they differ, their number follows the need.
    workers: tuple[int, int]
    workers_per_actor: int
    #: Folder of each node for decoded images; empty: the worker's default.
    cache: str
    #: 1: the actor of the services runs it, at the addresses above. Others have actors of their own.
    sinks: SinkCount


@dataclass(frozen=True, slots=True)
class WorkerSettings:
    """What an actor of workers runs."""

    ventilator: str
    keys: str
    count: int
    cache: str


@dataclass(frozen=True, slots=True)
class SinkSettings:
    """What the actor of one of several sinks runs."""

    name: str
    ventilator: str
    keys: str
    #: What it gives to trainers.
    trainer_keys: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Who reads: a rank, and the node that it runs on."""

    node: str
    rank: int
    world_size: int


@dataclass(frozen=True, slots=True)
class TrainerSettings:
    """What a trainer needs to connect."""

    address: str
    keys: str
