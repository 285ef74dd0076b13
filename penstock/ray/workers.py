"""Workers in actors: each reserves its processors wherever Ray has room; those that go are drained.

An actor for some workers, rather than one placement group for all: their number changes all the time, and any of them
is of use without the others, while a group is placed as a whole and never grows.
"""

import threading
import time
from typing import Any

from penstock.ray.api import is_done, ray
from penstock.ray.processes import DRAIN_S, Processes
from penstock.ray.settings import StackSettings, WorkerSettings

#: Seconds that the actor of drained workers may take to be gone.
_GONE_S = 10.0


class WorkerActor:
    """Workers of one node, a processor each."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Start them."""
        self._processes = Processes({"worker": settings.keys})
        own = {"ventilator": settings.ventilator, "drain_s": DRAIN_S - 2}
        for number in range(settings.count):
            cache = {"cache": settings.cache} if settings.cache else {}
            self._processes.add(f"worker-{number}", "worker", own | cache)

    def failure(self) -> str:
        """Return why a worker cannot run, or nothing."""
        return self._processes.failure

    def drain(self) -> None:
        """Let them finish what they have begun; return when they have left."""
        self._processes.drain()
        self._processes.stop()


class WorkerActors:
    """The workers' actors of a stack; used by one thread at a time, but for `stop`."""

    def __init__(self, settings: StackSettings) -> None:
        """Start none."""
        self._settings = settings
        self._lock = threading.Lock()
        self._stopped = False
        #: The actors, the oldest first, each with a call that returns when it runs.
        self._actors: list[tuple[Any, Any]] = []
        #: Those that drain: the call, and when they are killed (monotonic s).
        self._leaving: list[tuple[Any, Any, float]] = []

    def set(self, workers: int) -> None:
        """Ask for actors, or let some go: those that wait for a node first, then the youngest."""
        given = self._settings
        actors = -(-workers // given.workers_per_actor)
        own = WorkerSettings(given.ventilator, given.keys["worker"], given.workers_per_actor, given.cache)
        with self._lock:
            if self._stopped:
                return
            while len(self._actors) < actors:
                options = {"num_cpus": given.workers_per_actor, "max_restarts": -1, "scheduling_strategy": "SPREAD"}
                actor = ray.remote(WorkerActor).options(**options).remote(own)
                self._actors.append((actor, actor.failure.remote()))
            surplus = len(self._actors) - actors
            youngest = list(reversed(self._actors))
            for actor, ready in sorted(youngest, key=lambda each: is_done(each[1]))[: max(0, surplus)]:
                self._actors.remove((actor, ready))
                if is_done(ready):
                    self._leaving.append((actor, actor.drain.remote(), time.monotonic() + DRAIN_S + _GONE_S))
                else:
                    ray.kill(actor)
            for actor, call, deadline in list(self._leaving):
                if is_done(call) or time.monotonic() > deadline:
                    ray.kill(actor)
                    self._leaving.remove((actor, call, deadline))

    def stop(self) -> None:
        """Drain all, and end them; no more are started."""
        with self._lock:
            self._stopped = True
            calls = [actor.drain.remote() for actor, ready in self._actors if is_done(ready)]
            if calls:
                ray.wait(calls, num_returns=len(calls), timeout=DRAIN_S + _GONE_S)
            for actor, _ in self._actors:
                ray.kill(actor)
            self._actors = []
