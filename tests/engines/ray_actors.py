"""What the tests of `penstock.ray` ask a stack's actors: where they run, which there are, what was lost."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import ray  # pyright: ignore[reportMissingImports]
from engines.conftest import PATIENCE_S
from support.streams import digest

import penstock.ray


def digests(batches: list[Any]) -> list[str]:
    """Return the digest of each batch."""
    return [digest([batch]) for batch in batches]


def lost(stack: penstock.ray.RayStack) -> int:
    """Return how many workers the ventilator has given up."""
    return sum(count for why, count in stack.snapshot().lost.items() if why != "worker left" and "worker" in why)


def workers_of(stack: penstock.ray.RayStack) -> list[Any]:
    """Return the actors of a stack's workers."""
    asked = stack._actor.__ray_call__.remote(lambda own: [held.actor for held in own._workers._actors])
    return list(ray.get(asked, timeout=PATIENCE_S))


def pid_of(actor: Any) -> int:
    """Return the process of an actor."""
    pid: int = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()), timeout=PATIENCE_S)
    return pid


def node_of(actor: Any) -> str:
    """Return the number of the node that an actor runs on."""
    asked = actor.__ray_call__.remote(lambda _: ray.get_runtime_context().get_node_id())
    return str(ray.get(asked, timeout=PATIENCE_S))


def sinks_of(stack: penstock.ray.RayStack) -> dict[str, Any]:
    """Return the actors of a stack's sinks, by name."""
    asked = stack._actor.__ray_call__.remote(lambda own: {name: each[0] for name, each in own._sinks._actors.items()})
    return dict(ray.get(asked, timeout=PATIENCE_S))


def call_inside(stack: penstock.ray.RayStack, act: Callable[..., Any], *given: object) -> Any:
    """Call a function with a stack's actor, where that runs."""
    return ray.get(stack._actor.__ray_call__.remote(act, *given), timeout=PATIENCE_S)


def spoil(own: Any, keys: object) -> None:
    """Let further workers of a stack's actor have these keys."""
    given = own._workers._settings
    own._workers._settings = dataclasses.replace(given, keys={**given.keys, "worker": keys})
