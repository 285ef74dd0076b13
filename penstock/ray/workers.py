"""Workers in actors: each reserves its processors wherever Ray has room; those that go are drained.

An actor for some workers, rather than one placement group for all: their number changes all the time, and any of them
is of use without the others, while a group is placed as a whole and never grows. Ray starts an actor again whose node
is lost. One whose workers cannot run (an unusable cache folder, another version) would keep its processors for nothing:
it is let go, the reason is told, and another one is made after a pause.
"""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from penstock.protocol.runtime.printable import say
from penstock.ray.api import is_done, last_words, ray
from penstock.ray.processes import DRAIN_S, Processes
from penstock.ray.settings import StackSettings, WorkerSettings

#: Seconds that the actor of drained workers may take to be gone.
_GONE_S = 10.0
#: How often (s) actors are asked whether their workers run.
_ASK_S = 2.0
#: First and longest pause (s) before actors are made in place of failed ones. It begins anew, and the reason is
#: forgotten, once none has failed for longer than failures take to show, and some run: others may wait for a node.
_PAUSE_S, _LONGEST_PAUSE_S, _WELL_S = 1.0, 60.0, 180.0


class WorkerActor:
    """Workers of one node, a processor each."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Start them."""
        self._processes = Processes({"worker": settings.keys}, "workers")
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


@dataclass(slots=True, eq=False)
class _Held:
    """An actor, and what is known of it."""

    actor: Any
    #: The last question whether its workers can run, and when it was asked (monotonic s).
    question: Any = None
    asked_at: float = 0.0
    #: Whether it has answered since it was placed: it does not wait for a node.
    runs: bool = field(default=False)

    def ask(self, now: float) -> None:
        self.question, self.asked_at = self.actor.failure.remote(), now


class WorkerActors:
    """The workers' actors of a stack; used by one thread at a time, but for `stop`."""

    def __init__(self, settings: StackSettings) -> None:
        """Start none."""
        self._settings = settings
        #: Why workers lately could not run, or nothing.
        self.failure = ""
        self._lock = threading.Lock()
        self._stopped = False
        #: The actors, the oldest first.
        self._actors: list[_Held] = []
        #: Those that drain: the call, and when they are killed (monotonic s).
        self._leaving: list[tuple[Any, Any, float]] = []
        #: When the last one failed, when others may be made (monotonic s), and the pause after the next failure.
        self._failed_at = self._make_at = 0.0
        self._pause_s = _PAUSE_S

    def set(self, workers: int) -> None:
        """Ask for actors, or let some go: those that wait for a node first, then the youngest."""
        actors, now = -(-workers // self._settings.workers_per_actor), time.monotonic()
        with self._lock:
            if self._stopped:
                return
            self._look(actors, now)
            while len(self._actors) < actors and now >= self._make_at:
                self._make(now)
            surplus = len(self._actors) - actors
            youngest = list(reversed(self._actors))
            for held in sorted(youngest, key=lambda each: each.runs)[: max(0, surplus)]:
                self._let_go(held, now)
            for actor, call, deadline in list(self._leaving):
                if is_done(call) or now > deadline:
                    ray.kill(actor)
                    self._leaving.remove((actor, call, deadline))

    def stop(self) -> None:
        """Drain all, and end them; no more are started."""
        with self._lock:
            self._stopped = True
            calls = [held.actor.drain.remote() for held in self._actors if held.runs]
            calls += [call for _, call, _ in self._leaving]
            if calls:
                ray.wait(calls, num_returns=len(calls), timeout=DRAIN_S + _GONE_S)
            for actor in [*(held.actor for held in self._actors), *(actor for actor, _, _ in self._leaving)]:
                ray.kill(actor)
            self._actors, self._leaving = [], []

    def _make(self, now: float) -> None:
        given = self._settings
        own = WorkerSettings(given.ventilator, given.keys["worker"], given.workers_per_actor, given.cache)
        options = {"num_cpus": given.workers_per_actor, "max_restarts": -1, "scheduling_strategy": "SPREAD"}
        held = _Held(ray.remote(WorkerActor).options(**options).remote(own))
        held.ask(now)
        self._actors.append(held)

    def _let_go(self, held: _Held, now: float) -> None:
        self._actors.remove(held)
        if held.runs:
            self._leaving.append((held.actor, held.actor.drain.remote(), now + DRAIN_S + _GONE_S))
        else:
            ray.kill(held.actor)

    def _look(self, wanted: int, now: float) -> None:
        """Let actors go that cannot run, and tell why; others are made in their place after a pause."""
        failures = [why for held in list(self._actors) if (why := self._hear(held, now))]
        if failures:
            self.failure = f"workers cannot run: {failures[0]}"
            say(f"penstock ray: {self.failure}; {len(failures)} of {wanted} actors, made anew in {self._pause_s:.0f} s")
            self._failed_at, self._make_at = now, now + self._pause_s
            self._pause_s = min(_LONGEST_PAUSE_S, 2 * self._pause_s)
        elif self.failure and now > self._failed_at + _WELL_S and (not wanted or self._any_runs()):
            self.failure, self._pause_s = "", _PAUSE_S

    def _any_runs(self) -> bool:
        return any(held.runs for held in self._actors)

    def _hear(self, held: _Held, now: float) -> str:
        """Take an actor's answer if there is one; return why it was let go, or nothing."""
        if not is_done(held.question):
            return ""
        try:
            why = str(ray.get(held.question))
            held.runs = True
        except ray.exceptions.ActorUnavailableError:  # its node is lost, and Ray looks for another one
            held.runs, why = False, ""
        except ray.exceptions.RayError as error:  # it could not begin, and Ray does not try again
            held.runs, why = False, last_words(error)
        if why:
            self._let_go(held, now)
        elif now >= held.asked_at + _ASK_S:
            held.ask(now)
        return why
