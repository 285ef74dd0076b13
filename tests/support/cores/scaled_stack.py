"""A simulated stack whose workers follow the wanted number: for tests of how that number behaves over time."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import numpy as np

from penstock.protocol.snapshot import Scaling
from penstock.ventilator.monitoring.scaling import Scaler, ScalingPolicy
from penstock.ventilator.monitoring.snapshots import WINDOW_S
from penstock.ventilator.monitoring.verdict import Evidence, Judge

#: Samples/s of one simulated worker.
RATE = 100.0


@dataclass
class Stack:
    """A simulated stack: workers make `RATE` samples/s each, a trainer takes up to `demand(second)`, others follow."""

    demand: Callable[[float], float]
    scaler: Scaler
    workers: int = 1
    #: Seconds until a worker that was asked for works.
    start_s: float = 5.0
    #: Seconds for which a worker that drains is still counted, and idle.
    drain_s: float = 0.0
    #: Most workers that the machines have room for.
    room: int = 1000
    now: float = 0.0
    judge: Judge = field(default_factory=lambda: Judge(0.0))
    #: What was wanted and how many workers there were, by second.
    wanted: list[int] = field(default_factory=list)
    here: list[int] = field(default_factory=list)
    _starting: list[float] = field(default_factory=list)
    _leaving: list[float] = field(default_factory=list)
    #: Fraction waited, workers busy, workers idle, of the last seconds.
    _past: deque[tuple[float, float, float]] = field(default_factory=lambda: deque(maxlen=int(WINDOW_S)))

    def run(self, seconds: int) -> Scaling:
        """Let time pass; return the last answer."""
        answer = Scaling()
        for _ in range(seconds):
            self.now += 1.0
            answer = self._second()
        return answer

    def _second(self) -> Scaling:
        self.workers += sum(at <= self.now for at in self._starting)
        self._starting = [at for at in self._starting if at > self.now]
        demand, supply = self.demand(self.now), self.workers * RATE
        delivered = min(demand, supply)
        self._leaving = [at for at in self._leaving if at > self.now]
        working = delivered / RATE
        self._past.append(
            (1 - delivered / demand if demand else 0.0, working, self.workers - working + len(self._leaving))
        )
        wait, busy, idle = (float(np.mean(column)) for column in zip(*self._past, strict=True))
        seen = Evidence(
            WINDOW_S,
            wait_fraction=wait,
            starved=wait,
            trainers=1,
            workers=self.workers + len(self._leaving),
            make_s=busy * WINDOW_S,
            idle_s=idle * WINDOW_S,
            items=int(delivered * WINDOW_S),
            delivered=int(delivered * WINDOW_S),
            wanted=1000,
            open=1000.0,
        )
        answer = self.scaler.hear(seen, self.judge.hear(seen, self.now), self.now)
        self._follow(answer.wanted)
        self.wanted.append(-1 if answer.wanted is None else answer.wanted)
        self.here.append(self.workers)
        return answer

    def _follow(self, wanted: int | None) -> None:
        if wanted is None:
            return
        planned = self.workers + len(self._starting)
        self._starting += [self.now + self.start_s] * max(0, min(wanted, self.room) - planned)
        del self._starting[len(self._starting) - max(0, min(planned - wanted, len(self._starting))) :]
        if self.drain_s:
            self._leaving += [self.now + self.drain_s] * max(0, self.workers - wanted)
        self.workers = min(self.workers, wanted)

    def changes(self) -> list[int]:
        """Return by how much the wanted number changed, each time, once it was known."""
        known = [wanted for wanted in self.wanted if wanted >= 0]
        return [after - before for before, after in pairwise(known) if after != before]

    def turns(self) -> int:
        """Return how often a rise was followed by a fall or the other way round."""
        return sum((before > 0) != (after > 0) for before, after in pairwise(self.changes()))


def stack(demand: Callable[[float], float], policy: ScalingPolicy | None = None, **known: float) -> Stack:
    """Return a simulated stack with one worker."""
    return replace(Stack(demand, Scaler(policy or ScalingPolicy(), 0.0)), **known)  # type: ignore[arg-type]


def noisy(demand: Callable[[float], float], spread: float, seed: int = 1) -> Callable[[float], float]:
    """Return a demand that varies by a log-normal factor from second to second."""
    factors = np.exp(np.random.default_rng(seed).normal(0.0, spread, 10_000))
    return lambda now: demand(now) * float(factors[int(now) % len(factors)])
