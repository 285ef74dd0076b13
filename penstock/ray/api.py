"""Ray itself, imported when it is first needed, and what several modules ask of it."""

from pathlib import Path
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


def last_words(error: Exception) -> str:
    """Return the last line of an error of Ray, which ends with that of the code that ran."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1].strip() if lines else type(error).__name__


def session_folder() -> Path:
    """Return Ray's folder on this node, which stays when Ray ends; `ray logs` and the dashboard show its `logs`."""
    # Ray Train and Ray Data find it so: there is no public name for it.
    return Path(ray._private.worker._global_node.get_session_dir_path())  # noqa: SLF001


def on_node(node: str) -> Any:  # noqa: ANN401 - Ray's
    """Return the strategy that places an actor on this node, or nowhere."""
    return ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
