"""How many workers there should be: a damped number with its reason, for supervisors, autoscalers and people.

Theory of operation. Every second the evidence gives an opinion on the number that is needed: more while trainers wait
for busy workers, fewer while workers idle. An opinion is about all workers, not about the difference, so one that is
followed late or not at all is never added up. The wanted number rises once all opinions of `up_s` ask for more, and
falls once all opinions of `down_s` ask for fewer, as Kubernetes' stabilisation windows work; it at most doubles or
halves at once. After workers came or went, the evidence settles first. Nothing here starts or stops a worker.
"""

import math
from collections import deque
from dataclasses import dataclass

from penstock.protocol.errors import SpecError
from penstock.protocol.snapshot import Scaling, Verdict
from penstock.protocol.stats import shorten
from penstock.ventilator.monitoring.verdict import FED, Evidence

#: Workers that are busy for this fraction of their time are as few as may be. Below 1 - FED, so that a number which an
#: opinion asked for is never too large in the next one's eyes.
_BUSY = 0.8
#: Seconds after workers came or went before the evidence, which looks back, is about those that are here now; and the
#: longest that opinions are put off while workers keep coming and going.
_SETTLE_S, _LONGEST_SETTLE_S = 10.0, 60.0
#: The wanted number grows by this many at least, whatever it was.
_LEAST_STEP = 2
#: A gain below this fraction of the time is not known well enough to be told as a number.
_TOLD = 0.05
#: Longest sentence (characters).
_MOST_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class ScalingPolicy:
    """Bounds and patience. Raises SpecError if they contradict each other."""

    #: Fewest and most workers; `most` = 0: no bound.
    least: int = 1
    most: int = 0
    #: Seconds for which more, and fewer, must be asked for before the number changes.
    up_s: float = 10.0
    down_s: float = 60.0

    def __post_init__(self) -> None:
        """Check the bounds."""
        if self.most and self.most < self.least:
            raise SpecError(
                f"workers_most = {self.most} is below workers_least = {self.least}: give the larger one as workers_most"
            )

    def bounded(self, workers: int) -> int:
        """Return the number within the bounds that is closest to this one."""
        return max(self.least, min(workers, self.most or workers))


@dataclass(frozen=True, slots=True)
class _Opinion:
    """How many workers the evidence asks for at a moment, and why."""

    at: float
    workers: int
    why: str


class Scaler:
    """Turns the evidence of every second into the number of workers that there should be."""

    def __init__(self, policy: ScalingPolicy, now: float) -> None:
        """Begin without a number: how many workers are here is not known yet."""
        self._policy = policy
        self._wanted: int | None = None
        self._why = "how many workers are needed is not known yet"
        self._changed = self._moved = self._heard = now
        self._here = 0
        #: Since when the evidence has said nothing; and when it said something again after it had not for `up_s`: at
        #: first it still tells of a standstill, in which all wait, whatever the number of workers.
        self._unknown: float | None = None
        self._known_again = -math.inf
        #: The opinions of the last `down_s`, oldest first, since the number changed.
        self._opinions: deque[_Opinion] = deque()

    def hear(self, seen: Evidence, verdict: Verdict, now: float) -> Scaling:
        """Return the wanted number after one more look at the evidence; call it about once a second."""
        if seen.workers != self._here:
            self._here, self._moved = seen.workers, now
        if not seen.workers and seen.wanted:
            self._start_one(seen, now)
        elif now - self._moved >= _SETTLE_S or now - self._heard >= _LONGEST_SETTLE_S:
            opinion = needed(seen, verdict)
            if opinion is None:
                self._unknown = now if self._unknown is None else self._unknown
            else:
                if self._unknown is not None and now - self._unknown >= self._policy.up_s:
                    self._known_again = now
                self._heard, self._unknown = now, None
                self._consider(_Opinion(now, *opinion))
        return self._scaling(now)

    def _start_one(self, seen: Evidence, now: float) -> None:
        """Ask for a first worker at once: nothing moves without one."""
        least = self._policy.bounded(1)
        if self._wanted is None or self._wanted < least:
            self._change(least, f"{seen.wanted} tasks wait and no worker is here", now)

    def _consider(self, opinion: _Opinion) -> None:
        """Change the number if opinions have agreed for long enough."""
        now, policy = opinion.at, self._policy
        if self._wanted is None:
            self._change(policy.bounded(self._here), "as many as are here", now)
        assert self._wanted is not None  # noqa: S101 - just set
        self._opinions.append(opinion)
        while self._opinions[0].at < now - policy.down_s:
            self._opinions.popleft()
        lately = [each for each in self._opinions if each.at >= now - policy.up_s]
        rising = min(lately, key=lambda each: each.workers)
        falling = max(self._opinions, key=lambda each: each.workers)
        known_s = now - self._opinions[0].at
        rising_s = min(known_s, now - self._known_again)
        up = policy.bounded(min(rising.workers, max(2 * self._wanted, self._wanted + _LEAST_STEP)))
        down = policy.bounded(max(falling.workers, self._wanted // 2))
        # Opinions come about once a second: the oldest of a full window is up to a second younger than the window.
        if rising_s >= policy.up_s - 1 and up > self._wanted:
            self._change(up, rising.why, now)
        elif known_s >= policy.down_s - 1 and down < self._wanted:
            self._change(down, falling.why, now)

    def _change(self, workers: int, why: str, now: float) -> None:
        before, self._wanted, self._changed = self._wanted, workers, now
        moved = f"{workers} instead of {before}: " if before is not None else ""
        bound = ""
        if before is not None and workers == self._policy.most and workers > before:
            bound = f"; {workers} is the most that are allowed"
        self._why = f"{moved}{why}{bound}"
        self._opinions.clear()

    def _scaling(self, now: float) -> Scaling:
        return Scaling(
            wanted=self._wanted,
            least=self._policy.least,
            most=self._policy.most or None,
            sentence=shorten(self._why, _MOST_CHARACTERS),
            for_s=max(0.0, now - self._changed),
        )


def needed(seen: Evidence, verdict: Verdict) -> tuple[int, str] | None:
    """Return how many workers the evidence asks for, and why; None if it says nothing about that."""
    if verdict.word == "idle" or verdict.cause == "stopped stream":
        return 0, "nothing is to be made"
    if verdict.word in ("starting", "stalled"):
        return None
    here = seen.workers
    if verdict.word == "worker-bound" and verdict.more_workers:
        return here + verdict.more_workers, _price_of_more(seen, verdict)
    if verdict.word == "worker-bound":  # a file that is written takes all that comes
        return here, "a file takes all that is made, with any number of workers"
    total_s = seen.read_s + seen.make_s + seen.send_s + seen.idle_s
    if total_s <= 0:
        return None
    busy = 1 - seen.idle_s / total_s
    enough = min(here, max(1, math.ceil(busy * here / _BUSY - 1e-9)))
    if enough < here:
        return enough, f"{here} workers worked {busy:.0%} of their time, so {enough} would make as much"
    return here, f"{verdict.word}, and {here} workers are busy {busy:.0%} of their time"


def _price_of_more(seen: Evidence, verdict: Verdict) -> str:
    """Return what more workers cost and bring."""
    wait = verdict.wait_fraction or 0.0
    waited = f"{'the trainer' if seen.trainers == 1 else 'the trainer that waits most'} waited {wait:.0%} of its time"
    more = verdict.more_workers
    plural = "" if more == 1 else "s"
    share = (1 - wait) / (1 - FED)
    gain = f"take {share:.0%} of the time" if share >= _TOLD else "far shorter"
    return f"{waited}; {more} more worker{plural}, a core each, would make its epochs {gain}"
