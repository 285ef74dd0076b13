"""The worker's core: says hello, holds leased tasks in order, reports them finished, drains.

Theory of operation. Tasks are handed on at once and run in the order they came. Every heartbeat repeats the leases, so
a lost message is noticed. If the ventilator falls silent or does not know us, unstarted tasks are dropped (they will be
leased again) and hello is said under a fresh identity. No socket, no clock, no thread.
"""

from dataclasses import dataclass

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.event_log import EventLog
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.instructions import Failed, Instruction, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Done,
    Drain,
    Finished,
    Goodbye,
    Heartbeat,
    Hello,
    Intervals,
    Reset,
    Story,
    StoryPart,
    StoryRequest,
    Task,
    TaskKey,
    Tasks,
    WorkerStats,
    WorkerWelcome,
)

#: The routing identity under which the shell names the ventilator.
VENTILATOR = b"ventilator"
#: Events that a worker remembers: two a task.
_MOST_EVENTS = 2000
_TAKEN_OVER = Note("another ventilator has taken over", level="warning")


@dataclass(frozen=True, slots=True)
class Run:
    """Queue a task: run it after those queued before."""

    task: Task


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Empty the queue; the shell answers with `withdrawn`. What runs already goes on."""


@dataclass(frozen=True, slots=True)
class Configure:
    """Adopt the plans and the sink's address."""

    welcome: WorkerWelcome


@dataclass(frozen=True, slots=True)
class Stop:
    """Nothing is left to do: leave."""


WorkerInstruction = Instruction | Run | Withdraw | Configure | Stop


@dataclass(frozen=True, slots=True)
class WorkerCoreObservation:
    """The worker's core at one moment."""

    #: When it was observed (monotonic s).
    now: float
    #: Whether the ventilator has answered.
    welcomed: bool
    #: Why no result reaches the sink; empty while they do.
    blocked: str
    #: Tasks that are held.
    held: int
    #: The statistics of the last heartbeat.
    stats: WorkerStats


class WorkerSession:
    """State machine of one worker; see the module's text."""

    def __init__(self, hello: Hello, intervals: Intervals, now: float) -> None:
        """Be ready to say hello; `intervals` hold until the ventilator's arrive."""
        self.hello = hello
        self.live = Liveness(intervals, now, now)
        self.welcomed = False
        self.draining = False
        #: The last events, for `story`.
        self.log = EventLog(_MOST_EVENTS)
        #: The statistics of the last heartbeat.
        self._stats: WorkerStats | None = None
        #: Leases that are not finished, oldest first.
        self.held: dict[TaskKey, None] = {}
        self._given_back: tuple[TaskKey, ...] = ()
        #: Why no result reaches the sink; empty if results do, or if there is no sink.
        self.blocked = ""
        #: The sinks of the last welcome, by incarnation.
        self._sinks: tuple[str, ...] = ()
        #: The term of the ventilator that sent it.
        self._term = 0

    def start(self, now: float) -> list[WorkerInstruction]:
        """Say hello, at first and after the link was opened again."""
        self.live = Liveness(self.live.intervals, now, now)
        self.welcomed = False
        return [Send(VENTILATOR, self.hello)]

    def receive(self, message: AnyMessage, now: float) -> list[WorkerInstruction]:
        """Handle a message from the ventilator. Raises RemoteProtocolError if a ventilator must not send it."""
        self.live.heard_at = now
        match message:
            case WorkerWelcome():
                # Of another ventilator, which has taken over: it leases anew what its predecessor had leased.
                anew: list[WorkerInstruction] = (
                    [_TAKEN_OVER, Withdraw()] if self.welcomed and message.term != self._term else []
                )
                self.welcomed, self._term = True, message.term
                self._sinks = tuple(sink.incarnation for sink in message.sinks)
                self.live.intervals = message.intervals
                return [*anew, Configure(message)]
            case Tasks() if self.welcomed and not self.draining and not self.blocked:
                fresh = [task for task in message.tasks if task.key not in self.held]
                self.held.update(dict.fromkeys(task.key for task in fresh))
                for task in fresh:
                    self.log.add(now, task.key, f"queued at {self.hello.worker}")
                # A task that may kill this process is acknowledged first: otherwise its arrival would be in doubt.
                acknowledged = [self._beat()] if any(task.attempt for task in fresh) else []
                return [*acknowledged, *(Run(task) for task in fresh)]
            case Tasks() | Heartbeat():
                return []
            case StoryRequest(number=number, key=key):
                return [Send(VENTILATOR, Story(number=number, parts=(self.story(key, now),)))]
            case Drain():
                return [Failed(message.reason)]
            case Reset():
                return self._again("the ventilator does not know us", now)
            case _:
                raise RemoteProtocolError("unexpected", f"{type(message).__name__} at a worker")

    def finished(self, done: tuple[Done, ...], now: float) -> list[WorkerInstruction]:
        """Handle results that were sent to the sink."""
        for entry in done:
            self.held.pop(entry.key, None)
            self.log.add(now, entry.key, f"sent by {self.hello.worker}")
        return [Send(VENTILATOR, Finished(done=done)), *self._leave_if_idle()]

    def withdrawn(self, keys: tuple[TaskKey, ...]) -> list[WorkerInstruction]:
        """Handle tasks that were taken back from the queue before they ran."""
        for key in keys:
            self.held.pop(key, None)
        if self.draining:
            self._given_back += keys
        return self._leave_if_idle()

    def block(self, why: str) -> list[WorkerInstruction]:
        """Handle that results do not reach the sink: others get the leases. An empty `why`: they reach it again."""
        self.blocked = why
        if not why:
            return [Note("results get to the sink again"), self._beat()]
        return [Note("results do not get to the sink", {"why": why}, "error"), Withdraw(), self._beat()]

    def drain(self) -> list[WorkerInstruction]:
        """Finish what runs, give back the rest, leave."""
        if self.draining:
            return []
        self.draining = True
        return [Note("draining", {"held": len(self.held)}), Withdraw()]

    def wants_stats(self, now: float) -> bool:
        """Return whether the next `tick` sends a heartbeat, which says what the worker has done."""
        return self.live.due(now)

    def tick(self, now: float, stats: WorkerStats | None = None) -> list[WorkerInstruction]:
        """Notice silence and send heartbeats; call it at `next_timer` or more often.

        `stats`: the worker's statistics so far; needed if `wants_stats` returned true.
        """
        self._stats = stats or self._stats
        if self.live.lost(now):
            return self._again("the ventilator is silent", now)
        if self.live.due(now):
            self.live.spoke_at = now
            if not self.welcomed:
                return [Send(VENTILATOR, self.hello)]
            return [self._beat()]
        return []

    def next_timer(self) -> float:
        """Return when to call `tick` next."""
        return self.live.timer()

    def observe(self, now: float) -> WorkerCoreObservation:
        """Return what the status and the metrics show of this core."""
        return WorkerCoreObservation(now, self.welcomed, self.blocked, len(self.held), self._stats or WorkerStats())

    def story(self, key: TaskKey, now: float) -> StoryPart:
        """Return what happened to a task here lately, oldest first; to one item of it if the key names one."""
        return StoryPart(service=f"worker {self.hello.worker}", events=self.log.story(key, now))

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        assert self.draining or not self._given_back, f"{self._given_back} given back without draining"  # noqa: S101
        again = self.held.keys() & set(self._given_back)
        assert not again, f"{again} are held and given back"  # noqa: S101

    def _beat(self) -> Send:
        held = tuple(self.held)
        return Send(
            VENTILATOR, Heartbeat(running=held, sinks=self._sinks, blocked=self.blocked, worker_stats=self._stats)
        )

    def _leave_if_idle(self) -> list[WorkerInstruction]:
        if not self.draining or self.held:
            return []
        return [Send(VENTILATOR, Goodbye(unstarted=self._given_back)), Stop()]

    def _again(self, why: str, now: float) -> list[WorkerInstruction]:
        note = Note("saying hello again", {"why": why}, "warning")
        return [note, Withdraw(), Reopen(VENTILATOR), *self.start(now)]
