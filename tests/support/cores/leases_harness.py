"""A Leases core with everything around it played by hand."""

from collections.abc import Iterator, Sequence
from typing import Any

from support.plans import LEASE_KEY, PlannedTasks, make_plan

from penstock.protocol import ranges
from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.messages import (
    Done,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    Progress,
    SinkHello,
    StreamNeed,
    TaskKey,
    Tasks,
    Timings,
)
from penstock.protocol.plan import StreamPlan
from penstock.ventilator.core.leases import LeasePolicy, Leases

SINK = b"sink"


INTERVALS = Intervals(heartbeat_s=1.0, silence_s=5.0)


def key(ordinal: int, item_offset: int | None = None, stream: str = "train") -> TaskKey:
    """Return the name of a unit of work."""
    return TaskKey(stream=stream, ordinal=ordinal, item_offset=item_offset)


class CoreHarness:
    """A Leases core with everything around it played by hand."""

    def __init__(self, *plans: StreamPlan, policy: LeasePolicy | None = None) -> None:
        """Start without peers, at time 0."""
        self.plans = {plan.name: plan for plan in plans or (make_plan(),)}
        self.now = 0.0
        self.leases = Leases(
            PlannedTasks(*self.plans.values()),
            {"photos": "/photos"},
            INTERVALS,
            "1.0",
            LEASE_KEY,
            policy,
        )
        self.sequence = 0
        self.notes: list[Note] = []

    def take(self, instructions: Sequence[Instruction]) -> list[Send]:
        """Check the core, keep its notes and return what it sends."""
        self.leases.validate()
        self.notes += [each for each in instructions if isinstance(each, Note)]
        return [each for each in instructions if isinstance(each, Send)]

    def hear(self, peer: bytes, message: Any) -> list[Any]:
        """Let a message arrive; return the messages sent to any peer."""
        return [send.message for send in self.take(self.leases.receive(peer, message, self.now))]

    def join(self, peer: bytes, slots: int = 2, incarnation: str = "", host: str = "h") -> list[Any]:
        """Let a worker say hello."""
        name = incarnation or peer.decode()
        return self.hear(peer, Hello(worker=name, incarnation=name, host=host, slots=slots, version="1.0"))

    def sink(self, peer: bytes = SINK, results: str = "results") -> list[Any]:
        """Let a sink say hello."""
        self.sequence = 0
        return self.hear(peer, SinkHello(incarnation=peer.decode(), results=results, version="1.0"))

    def miss(self, *spans: tuple[int, int], stream: str = "train", peer: bytes = SINK, **more: Any) -> list[Any]:
        """Let the sink say which tasks it misses; what it missed before has come unless `came` says otherwise."""
        self.sequence += 1
        missing = ranges.normalise(spans)
        told: dict[str, Any] = {"came": ranges.subtract(self.leases.queues[stream].missing, missing)} | more
        need = StreamNeed(stream=stream, missing=missing, **told)
        return self.hear(peer, Progress(sequence=self.sequence, needs=(need,)))

    def deal(self) -> dict[bytes, list[TaskKey]]:
        """Return who is given which units of work now."""
        sends = self.take(self.leases.dispatch(self.now))
        return {
            send.peer: [task.key for task in send.message.tasks] for send in sends if isinstance(send.message, Tasks)
        }

    def finish(self, peer: bytes, *keys: TaskKey, took_s: float = 0.1) -> None:
        """Let a worker say that results were sent."""
        self.hear(peer, Finished(done=tuple(Done(key=key, timings=Timings(decode_s=took_s)) for key in keys)))

    def beat(self, peer: bytes, *keys: TaskKey, sinks: tuple[str, ...] | None = None) -> list[Any]:
        """Let a worker's heartbeat arrive."""
        hello = self.leases.sinks.first.hello
        known = (hello.incarnation,) if hello else ()
        return self.hear(peer, Heartbeat(running=keys, sinks=known if sinks is None else sinks))

    def wait(self, seconds: float, *alive: bytes, step_s: float = 0.25) -> list[Any]:
        """Let time pass, with heartbeats from the sink and from `alive` workers; return what was sent."""
        sent: list[Any] = []
        until = self.now + seconds
        while self.now < until - 1e-9:
            self.now = min(self.now + step_s, until)
            for peer in (SINK, *alive):
                if peer in self.leases.workers:
                    self.beat(peer, *self.leases.workers[peer].held)
                elif peer == self.leases.sinks.first.peer:
                    self.hear(peer, Heartbeat())
            sent += [send.message for send in self.take(self.leases.tick(self.now))]
        return sent

    def die(self, peer: bytes, *, after_s: float = 1e-6) -> list[Any]:
        """Let the transport find a worker gone, a while after it was given what it holds."""
        self.now += after_s
        return [send.message for send in self.take(self.leases.gone(peer, self.now))]

    def deaths(self, stream: str = "train") -> dict[TaskKey, int]:
        """Return how many deaths each missing unit of work is charged with that has one."""
        queue = self.leases.queues[stream]
        return {key: deaths for key in queue.works if (deaths := queue.deaths.deaths(key))}

    def noted(self, event: str) -> list[Note]:
        """Return the notes of one kind."""
        return [note for note in self.notes if note.event == event]


def kill_for(harness: CoreHarness, wanted: TaskKey, names: Iterator[int]) -> list[Any]:
    """Let a fresh worker of one slot get `wanted` and die of it; others finish what comes before it."""
    while True:
        peer = f"w{next(names)}".encode()
        harness.join(peer, slots=1)
        [[got]] = (harness.deal() or harness.deal()).values()
        if got == wanted:
            if got in harness.deaths():
                harness.beat(peer, got)  # as workers do before they run a suspect
            return harness.die(peer)
        harness.finish(peer, got)
        harness.hear(peer, Goodbye())
