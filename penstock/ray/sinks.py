"""Several sinks of a stack, an actor each: one on every node where ranks read, or a fixed number of them.

A sink on a rank's own node is placed by the rank: when the first one of a node asks, its actor is started there by node
affinity. It reserves no processor, since those of the node may all be Ray Train's. A fixed number of sinks is a
placement group: the stream stands still while one is missing, so they are placed as a whole, each on another node where
that can be, with a processor each.
"""

import threading
from typing import Any

from penstock.launcher.addresses import HeldPorts
from penstock.launcher.local_sinks import sink_of_rank
from penstock.launcher.service_command import services_for_all
from penstock.protocol.errors import StackError
from penstock.ray.api import is_done, living_nodes, on_node, ray
from penstock.ray.processes import PORTS, Processes
from penstock.ray.settings import PER_NODE, Reading, SinkSettings, StackSettings, TrainerSettings

#: Characters of a node's number by which its sink is called.
_SHORT = 12


class SinkActor:
    """One of several sinks, on its node; its ports are free ones there, and others after a restart of the actor."""

    def __init__(self, settings: SinkSettings) -> None:
        """Start it. Raises StackError."""
        self._settings = settings
        self._processes = Processes({"sink": settings.keys}, settings.name)
        here = ray.util.get_node_ip_address()
        self._ports = HeldPorts(2, PORTS)
        results, self._trainers = (f"tcp://{here}:{port}" for port in self._ports.numbers)
        _, sink = services_for_all(settings.ventilator, results, self._trainers)
        self._processes.add("sink", "sink", sink | {"name": settings.name})

    def trainer(self) -> TrainerSettings:
        """Return what a trainer needs to connect. Raises StackError if the sink cannot run."""
        if self._processes.failure:
            raise StackError(f"{self._settings.name}: {self._processes.failure}")
        return TrainerSettings(self._trainers, self._settings.trainer_keys)

    def stop(self) -> None:
        """End the sink."""
        self._processes.stop()
        self._ports.close()


class SinkActors:
    """The sinks' actors of a stack."""

    def __init__(self, settings: StackSettings) -> None:
        """Ask for a fixed number of them; those of nodes are started when they are asked for."""
        self._settings = settings
        self._lock = threading.Lock()
        self._stopped = False
        #: By the sink's name: its actor, a call that returns when it runs, and the node that it is bound to.
        self._actors: dict[str, tuple[Any, Any, str]] = {}
        self._group: Any = None
        if isinstance(settings.sinks, int):
            self._group = ray.util.placement_group([{"CPU": 1}] * settings.sinks, strategy="SPREAD")
            for number in range(settings.sinks):
                self._start(f"sink-{number}", "", number)

    def of(self, reading: Reading) -> Any:  # noqa: ANN401 - Ray's
        """Return the actor of the sink that serves a rank; it may be starting. Raises StackError."""
        sinks = self._settings.sinks
        with self._lock:
            if self._stopped:
                raise StackError("the stack is being stopped")
            if sinks == PER_NODE:
                name, node, number = f"node-{reading.node[:_SHORT]}", reading.node, 0
            else:
                number = sink_of_rank(reading.rank, reading.world_size, int(sinks))
                name, node = f"sink-{number}", ""
            known = self._actors.get(name)
            if known is None or _has_failed(known[1]):
                self._start(name, node, number)
            return self._actors[name][0]

    def forget_lost(self) -> None:
        """Forget the sinks of nodes that are gone: their ranks come back elsewhere, or not at all."""
        if self._settings.sinks != PER_NODE or not self._actors:
            return
        alive = living_nodes()
        with self._lock:
            for name, (actor, _, node) in list(self._actors.items()):
                if node not in alive:
                    ray.kill(actor)
                    del self._actors[name]

    def stop(self, seconds: float) -> None:
        """End all; none is started any more."""
        with self._lock:
            self._stopped = True
            calls = [actor.stop.remote() for actor, ready, _ in self._actors.values() if is_done(ready)]
            if calls:
                ray.wait(calls, num_returns=len(calls), timeout=seconds)
            for actor, _, _ in self._actors.values():
                ray.kill(actor)
            self._actors = {}
            if self._group is not None:
                ray.util.remove_placement_group(self._group)

    def _start(self, name: str, node: str, number: int) -> None:
        given = self._settings
        own = SinkSettings(name, given.ventilator, given.keys["sink"], given.keys["trainer"])
        options: dict[str, Any] = {"num_cpus": 0, "max_restarts": -1, "max_task_retries": -1, "max_concurrency": 8}
        if node:
            options["scheduling_strategy"] = on_node(node)
        else:
            strategies = ray.util.scheduling_strategies
            bundle = strategies.PlacementGroupSchedulingStrategy(self._group, placement_group_bundle_index=number)
            options |= {"num_cpus": 1, "scheduling_strategy": bundle}
        actor = ray.remote(SinkActor).options(**options).remote(own)
        self._actors[name] = (actor, actor.trainer.remote(), node)


def _has_failed(ready: Any) -> bool:  # noqa: ANN401 - Ray's
    """Return whether an actor cannot run, by its first call."""
    if not is_done(ready):
        return False
    try:
        ray.get(ready)
    except ray.exceptions.RayError:
        return True
    return False
