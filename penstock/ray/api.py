"""Ray itself, imported when it is first needed, and what several modules ask of it."""

from typing import Any

from penstock.trainer.adapters.frameworks import import_framework

#: Ray has no types of its own that would say more.
ray: Any = import_framework("ray", "Ray", "pip install 'penstock[ray]'")


def is_done(call: Any) -> bool:  # noqa: ANN401 - Ray's
    """Return whether a call of an actor has returned, or failed."""
    done, _ = ray.wait([call], timeout=0)
    return bool(done)


def living_nodes() -> set[str]:
    """Return the numbers of the nodes that Ray has not given up."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def on_node(node: str) -> Any:  # noqa: ANN401 - Ray's
    """Return the strategy that places an actor on this node, or nowhere."""
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
