"""Which of several ventilators acts: never two at once, whatever stops or is lost; and one again soon after."""

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulation.standby.shared_folder import SharedFolder

from penstock.ventilator.standby.candidate import VALID, Candidate, Claim, Job, Look, Record, Renew, Seen, Waiting

#: Seconds without a change after which another one claims the next number.
TAKEOVER_S = 4.0
#: Seconds until the one that is killed last starts again.
_AGAIN_S = 5.0
#: Longest time (s) from the end of all trouble, or from a death, until one acts: a last renewal, the wait for its end
#: by the slowest clock, a look and a claim.
SOON_S = 1.2 * TAKEOVER_S / 0.85 + 2.0


@dataclass
class Folder(SharedFolder):
    """A folder, the true time and what happens in it."""

    rng: random.Random
    now: float = 0.0
    trouble_until: float = 0.0
    events: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    count: int = 0

    def __post_init__(self) -> None:
        """Begin empty."""
        SharedFolder.__init__(self)

    def after(self, delay_s: float, action: Callable[[], None]) -> None:
        """Let something happen."""
        self.count += 1
        heapq.heappush(self.events, (self.now + delay_s, self.count, action))


class Host:
    """A ventilator's host: its clock, its pauses, and its accesses to the folder, each as slow as the dice say."""

    def __init__(self, name: str, folder: Folder, rate: float, offset: float) -> None:
        """Start."""
        self.name, self.folder, self.rate, self.offset = name, folder, rate, offset
        self.generation, self.paused_until, self.alive = 0, 0.0, False
        self.start()

    def start(self) -> None:
        """Start a process."""
        self.generation += 1
        self.alive = True
        self.candidate = Candidate(Record(f"{self.name}{self.generation}", self.name, takeover_s=TAKEOVER_S))
        self.later(0.0, self.work)

    def start_again(self) -> None:
        """Start a process if none runs."""
        if not self.alive:
            self.start()

    def kill(self) -> None:
        """Die at once."""
        self.alive = False

    @property
    def clock(self) -> float:
        """What its clock shows."""
        return self.offset + self.folder.now * self.rate

    @property
    def acts(self) -> bool:
        """Whether it would send a message now, if it were not stopped."""
        return self.alive and self.clock < self.candidate.acts_until

    def later(self, delay_s: float, action: Callable[[], None]) -> None:
        """Do something later, unless it was killed by then; while it is stopped, it waits."""
        generation = self.generation

        def act() -> None:
            if not self.alive or generation != self.generation:
                return
            if self.paused_until > self.folder.now:
                self.folder.after(self.paused_until - self.folder.now, act)
            else:
                action()

        self.folder.after(max(0.0, delay_s), act)

    def work(self) -> None:
        """Ask for a job, do it at some moment, and hear of its outcome at a later one."""
        job, began = self.candidate.job(self.clock, 1_700_000_000), self.clock
        self.candidate.validate(self.clock)
        self.later(self.delay(), lambda: self.do(job, began))

    def do(self, job: Job, began: float) -> None:
        """Do a job, or not."""
        rng, troubled = self.folder.rng, self.folder.now < self.folder.trouble_until
        away = self.folder.now < self.folder.away_until or (troubled and rng.random() < 0.1)
        seen = None if away and rng.random() < 0.5 else self.folder.do(job)
        self.later(self.delay(), lambda: self.hear(job, None if away else seen, began))

    def hear(self, job: Job, seen: Seen | None, began: float) -> None:
        """Hear of an outcome."""
        if seen is None:
            self.candidate.failed(job, "no answer", self.clock)
        else:
            self.candidate.took(job, seen, began, self.clock)
        self.candidate.validate(self.clock)
        self.later((self.candidate.due - self.clock) / self.rate, self.work)

    def delay(self) -> float:
        """Return how long half an access takes."""
        rng = self.folder.rng
        slow = self.folder.now < self.folder.trouble_until and rng.random() < 0.05
        return rng.uniform(0, 6) if slow else rng.uniform(0, 0.02)


def run(seed: int) -> list[str]:  # noqa: PLR0915 - a schedule, from its beginning to its end
    """Run a schedule: trouble for a minute, then a death in peace. Return who acted, in order."""
    rng = random.Random(seed)
    folder = Folder(rng, trouble_until=rng.choice((0.0, 60.0)))
    rates = [rng.choice((1.0, rng.uniform(0.87, 1.13))) for _ in range(rng.choice((1, 2, 2, 3)))]
    hosts = [Host("abc"[n], folder, rate, rng.uniform(0, 1e6)) for n, rate in enumerate(rates)]
    terms: list[tuple[int, str]] = []
    idle_since = 0.0

    def disturb() -> None:
        host = rng.choice(hosts)
        match rng.choice(("kill", "pause", "pause", "away", "leave")):
            case "kill" if host.alive:
                host.kill()
                folder.after(rng.uniform(0.1, 9), host.start_again)
            case "pause" if host.alive:
                host.paused_until = min(folder.now + rng.expovariate(0.2), folder.trouble_until + 10)
            case "away":
                folder.away_until = folder.now + rng.uniform(0, 8)
            case "leave" if host.alive and (job := host.candidate.release()):
                folder.do(job)
                host.kill()
                folder.after(rng.uniform(0.1, 9), host.start_again)
            case _:
                pass
        if folder.now < folder.trouble_until:
            folder.after(rng.expovariate(0.3), disturb)

    if folder.trouble_until:
        folder.after(rng.expovariate(0.3), disturb)
    killed = False
    while folder.now < 130:
        folder.now, _, action = heapq.heappop(folder.events)
        action()
        acting = [host for host in hosts if host.acts]
        assert len(acting) <= 1, f"at {folder.now:.3f} s these act at once: {[host.name for host in acting]}"
        for host in acting:
            if (host.candidate.term, host.name) not in terms:
                assert not terms or host.candidate.term > terms[-1][0], "a term that is not higher than those before"
                terms.append((host.candidate.term, host.name))
        if acting or folder.now < folder.trouble_until + 20:
            idle_since = folder.now
        soon_s = SOON_S + (_AGAIN_S if len(hosts) == 1 else 0)
        assert folder.now < idle_since + soon_s, f"at {folder.now:.3f} s none has acted since {idle_since:.3f} s"
        if folder.now > 100 and acting and not killed:
            acting[0].kill()
            folder.after(_AGAIN_S, acting[0].start_again)
            killed = True
    return [name for _, name in terms]


@pytest.mark.parametrize("first", range(0, 200, 50))
def test_never_two_act_at_once_and_one_does_before_long(first: int) -> None:
    """Whatever is killed, stopped or slow, and if accesses fail or happen unnoticed; clocks differ by 13 percent."""
    changes = sum(len(run(seed)) for seed in range(first, first + 50))
    assert changes > 100, "the schedules change so seldom who acts that they test little"


@given(st.integers(min_value=10_000, max_value=2**40))
@settings(max_examples=30, deadline=None)
def test_no_schedule_that_hypothesis_draws_has_two(seed: int) -> None:
    """The same of any other schedule."""
    run(seed)


def seen(record: Record | None, number: int = 1, *, done: bool = False) -> Seen:
    """Return what a folder with one record holds."""
    return Seen(number if record else 0, repr(record).encode(), record, (), done)


def acting() -> Candidate:
    """Return a candidate that acts since 10 s."""
    candidate = Candidate(Record("me", "host/1", takeover_s=TAKEOVER_S))
    look = candidate.job(10.0, 5)
    candidate.took(look, seen(None), 10.0, 10.0)
    claim = candidate.job(10.0, 5)
    assert isinstance(claim, Claim)
    assert (1, 5) == (claim.number, claim.record.term)
    candidate.took(claim, seen(claim.record, done=True), 10.0, 10.1)
    assert candidate.holds(10.1)
    return candidate


def renewal(candidate: Candidate, now: float) -> Renew:
    """Return the renewal that a candidate asks for."""
    job = candidate.job(now, 5)
    assert isinstance(job, Renew)
    return job


def test_one_that_acts_stops_by_its_own_clock() -> None:
    """Without a renewal that is done in time it does not act, whatever becomes of the renewal later."""
    candidate = acting()
    job = renewal(candidate, 10.8)
    assert candidate.holds(10.0 + VALID * TAKEOVER_S - 0.01)
    candidate.took(job, seen(job.record, done=True), 10.8, 10.0 + VALID * TAKEOVER_S + 0.01)
    assert not candidate.holds(10.0 + VALID * TAKEOVER_S + 0.02)
    assert "not renewed" in candidate.standing(20.0).why


def test_a_renewal_counts_from_its_beginning() -> None:
    """Others may have read it as early as that."""
    candidate = acting()
    job = renewal(candidate, 11.0)
    candidate.took(job, seen(job.record, done=True), 11.0, 12.5)
    assert candidate.holds(11.0 + VALID * TAKEOVER_S - 0.01)
    assert not candidate.holds(11.0 + VALID * TAKEOVER_S + 0.01)


def test_one_whose_record_is_gone_or_passed_stops_at_once() -> None:
    """A renewal that finds a higher number, or no record, ends it."""
    candidate = acting()
    job = candidate.job(10.8, 5)
    candidate.took(job, seen(Record("other"), 2), 10.8, 10.9)
    assert not candidate.holds(10.9)


def test_a_waiting_one_claims_only_what_a_late_enough_read_shows_unchanged() -> None:
    """A read that began before the time was over proves nothing, however late it ends."""
    candidate = Candidate(Record("me", takeover_s=TAKEOVER_S))
    record = Record("other", "host/2", takeover_s=TAKEOVER_S, term=9)
    for began, ended in ((0.0, 1.0), (4.9, 8.0)):
        candidate.took(candidate.job(began, 5), seen(record), began, ended)
        job = candidate.job(ended, 5)
        assert isinstance(job, Look)
    candidate.took(job, seen(record), 8.0, 8.1)
    claim = candidate.job(8.2, 5)
    assert isinstance(claim, Claim)
    assert (2, 10) == (claim.number, claim.record.term), "the next number, and a higher term whatever the time of day"


def test_what_another_one_left_is_claimed_at_once() -> None:
    """A ventilator that is asked to stop makes no one wait."""
    candidate = Candidate(Record("me", takeover_s=TAKEOVER_S))
    candidate.took(candidate.job(0.0, 5), seen(Record("other", released=True)), 0.0, 0.1)
    assert isinstance(candidate.job(0.1, 5), Claim)


def test_the_longer_of_two_settings_counts() -> None:
    """Two that were started with different times do not act at once: who acts may do so for its own time."""
    candidate = Candidate(Record("me", takeover_s=TAKEOVER_S))
    record = Record("other", takeover_s=60.0)
    for began in (0.0, 10.0, 59.0):
        candidate.took(candidate.job(began, 5), seen(record), began, began)
        assert isinstance(candidate.job(began, 5), Look)
    candidate.took(candidate.job(60.0, 5), seen(record), 60.0, 60.0)
    assert isinstance(candidate.job(60.0, 5), Claim)


def test_the_status_tells_who_acts_and_who_waits() -> None:
    """With how long ago each gave a sign of life, and whether that is too long ago to take over."""
    candidate = acting()
    waiting = Record("w", "host/3", takeover_s=TAKEOVER_S, beat=1)
    job = renewal(candidate, 10.8)
    candidate.took(job, Seen(1, b"", job.record, (waiting,), done=True), 10.8, 10.9)
    [known] = candidate.standing(11.0).waiting
    assert Waiting("host/3", known.heard_s, alive=True) == known
    assert pytest.approx(0.1) == known.heard_s
    job = renewal(candidate, 11.6)
    candidate.took(job, Seen(1, b"", job.record, (waiting,), done=True), 11.6, 11.7)
    [known] = candidate.standing(14.95).waiting
    assert Waiting("host/3", known.heard_s, alive=False) == known
    assert 5 == candidate.standing(11.7).term


def test_the_record_of_one_that_waited_and_ended_is_removed() -> None:
    """By the one that acts, after a long silence: otherwise such records would pile up until the next takeover."""
    candidate = acting()
    gone, here = (Record(name, name, takeover_s=TAKEOVER_S) for name in ("gone", "here"))
    now, over = 10.8, []
    while now < 10.8 + 16 * TAKEOVER_S:
        job = renewal(candidate, now)
        over.append(job.over)
        waiting = (gone, replace(here, beat=len(over)))
        candidate.took(job, Seen(1, b"", job.record, waiting, done=True), now, now)
        now += 0.8
    assert {(), ("gone",)} == set(over)
    assert ("gone",) == over[-1]
    assert 15 * TAKEOVER_S <= 0.8 * over.index(("gone",))
