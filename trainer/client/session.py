"""The trainer's core: one stream, subscribed again as often as it takes, without a gap or a repetition.

Theory of operation. Every batch names the position it starts at and the one after it, so the session knows which batch
must come next. Anything else (a gap, silence, a `Reset`) ends the subscription: the link is opened again under a fresh
identity and the stream goes on from the position reached. Batches that were delivered and not consumed yet stay
counted against the credit of the next subscription. No socket, no clock, no thread.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.event_log import EventLog
from penstock.protocol.heartbeat import Liveness
from penstock.protocol.instructions import Instruction, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Credit,
    EpochEnd,
    Goodbye,
    Heartbeat,
    Intervals,
    Refused,
    Reset,
    Story,
    StoryPart,
    StoryRequest,
    Subscribe,
    TaskKey,
    TrainerWelcome,
)
from penstock.protocol.plan import LEAST_PREFETCH, StreamPlan
from penstock.protocol.wire import Array
from penstock.trainer.client.observation import SessionObservation

#: Highest factor on the silence that counts as loss. It doubles whenever silence ended a subscription without a batch:
#: on a slow line, one message may take longer than that silence.
_MOST_PATIENCE = 32
#: Events that a session remembers: one a batch, and one each time that it subscribes.
_MOST_EVENTS = 2000
#: The routing identity under which the shell names the sink.
SINK = b"sink"


@dataclass(frozen=True, slots=True)
class Deliver:
    """The next batch of the stream."""

    batch: Batch
    arrays: Sequence[Array]


@dataclass(frozen=True, slots=True)
class Ended:
    """An epoch is over; `report` is None if its accounting was lost with a connection."""

    stop: int
    report: EpochEnd | None


@dataclass(frozen=True, slots=True)
class Rejected:
    """The sink refuses the subscription: final."""

    refused: Refused


SessionInstruction = Instruction | Deliver | Ended | Rejected


@dataclass(frozen=True, slots=True)
class SubscriptionConfig:
    """A trainer's subscription, which outlives its connections."""

    stream: str
    rank: int
    world_size: int
    #: Batches that may wait at the trainer or be on their way; None: as many as the plan suggests.
    ahead: int | None
    version: str
    #: Whether fields are copied into memory of the program's own; else large ones lie in shared memory, read-only.
    copies: bool = True


class Session:
    """State machine of one trainer; see the module's text."""

    def __init__(
        self,
        config: SubscriptionConfig,
        position: int,
        fingerprint: str,
        intervals: Intervals,
        now: float,
        plan: StreamPlan | None = None,
    ) -> None:
        """Be ready to subscribe from `position`; `fingerprint` is the one that the position belongs to, or empty."""
        self.config = config
        #: Position after the last batch that was delivered.
        self.position = position
        self.fingerprint = fingerprint
        #: The stream's plan; known from the sink's welcome, or from an earlier session of the same stream.
        self.plan = plan
        self.live = Liveness(intervals, now, now)
        self.rejected = False
        #: The last events, for `story`.
        self.log = EventLog(_MOST_EVENTS)
        #: Batches delivered and consumed over all subscriptions.
        self.delivered = self.consumed = 0
        #: Of those delivered, how many came before this subscription.
        self._before = 0
        #: End position of the last epoch that was reported as ended.
        self._ended = position
        self._patience = 1
        #: Our position when the sink last reported that it had sent more than has arrived; None: all had arrived.
        self._behind: int | None = None

    def start(self, now: float) -> list[SessionInstruction]:
        """Subscribe from the position reached."""
        self._before = self.delivered
        self._behind = None
        self.live = Liveness(self.live.intervals, now, now, self._patience)
        config = self.config
        subscribe = Subscribe(
            stream=config.stream,
            rank=config.rank,
            world_size=config.world_size,
            position=self.position,
            fingerprint=self.fingerprint,
            limit=self._credit().limit,
            version=config.version,
        )
        return [*self._close_epoch(), Send(SINK, subscribe)]

    def receive(self, message: AnyMessage, arrays: Sequence[Array], now: float) -> list[SessionInstruction]:
        """Handle a message from the sink. Raises RemoteProtocolError if a sink must not send it."""
        self.live.heard_at = now
        if self.rejected:
            return []
        match message:
            case TrainerWelcome():
                self.plan = message.plan
                self.fingerprint = message.plan.fingerprint
                self.live.intervals = message.intervals
                return []
            case Batch():
                return self._batch(message, arrays, now)
            case EpochEnd():
                return self._epoch_end(message, now)
            case Heartbeat():
                return self._compare(message.position, now)
            case StoryRequest(number=number, key=key):
                return [Send(SINK, Story(number=number, parts=(self.story(key, now),)))]
            case Reset():
                return self._again("the sink does not know us", now)
            case Refused():
                self.rejected = True
                return [Rejected(message)]
            case _:
                raise RemoteProtocolError("unexpected", f"{type(message).__name__} at a trainer")

    @property
    def ahead(self) -> int:
        """Batches that may wait here or be on their way; few until the plan says how large they are."""
        if self.config.ahead is not None:
            return self.config.ahead
        return 1 + (self.plan.default_prefetch if self.plan else LEAST_PREFETCH)

    @property
    def grant_after(self) -> int:
        """Batches after whose consumption the sink should hear: it has credit for as many again, and room for more."""
        if self.plan is None:
            return 1
        world_size = self.config.world_size
        in_window = self.plan.window(world_size) // self.plan.round_samples(world_size)
        return max(1, min(self.ahead // 2, in_window // 4))

    def consume(self, batches: int, now: float) -> list[SessionInstruction]:
        """Record that `batches` more were consumed."""
        self.consumed += batches
        return [self._grant(now)]

    def tick(self, now: float) -> list[SessionInstruction]:
        """Notice silence and send heartbeats; call it at `next_timer` or more often."""
        if self.rejected:
            return []
        if self.live.lost(now):
            self._patience = min(2 * self._patience, _MOST_PATIENCE)
            return self._again("the sink is silent", now)
        if self.live.due(now):  # credit is absolute, so it doubles as the heartbeat and repairs a lost grant
            return [self._grant(now)]
        return []

    def next_timer(self, now: float) -> float:
        """Return when to call `tick` next."""
        return now + self.live.intervals.heartbeat_s / 4 if self.rejected else self.live.timer()

    def observe(self, now: float) -> SessionObservation:
        """Return the state of this core for the program's threads."""
        counts = self.position, self.delivered, self.consumed, self.ahead, self.grant_after
        return SessionObservation(now, self.plan, self.rejected, *counts)

    def story(self, key: TaskKey, now: float) -> StoryPart:
        """Return what happened to a task's samples here lately, oldest first."""
        name = f"trainer {self.config.stream}, rank {self.config.rank}"
        return StoryPart(service=name, events=self.log.story(key, now))

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        assert 0 <= self._before <= self.delivered, f"{self._before} of {self.delivered} batches came before"  # noqa: S101
        assert 0 <= self.consumed <= self.delivered, f"{self.consumed} consumed of {self.delivered}"  # noqa: S101
        assert self._ended <= self.position, f"an epoch ended at {self._ended}, after {self.position}"  # noqa: S101
        assert self._behind is None or self._behind <= self.position, f"behind at {self._behind}"  # noqa: S101
        assert 1 <= self._patience <= _MOST_PATIENCE, f"patience {self._patience}"  # noqa: S101
        credit = self._credit()
        assert credit.consumed <= credit.limit, f"{credit} takes back what was granted"  # noqa: S101
        assert self.plan is None or self.fingerprint, "a plan without a fingerprint"  # noqa: S101

    def leave(self) -> list[SessionInstruction]:
        """Unsubscribe."""
        return [Send(SINK, Goodbye())]

    def _grant(self, now: float) -> Send:
        self.live.spoke_at = now
        return Send(SINK, self._credit())

    def _credit(self) -> Credit:
        limit = self.consumed + self.ahead - self._before
        return Credit(consumed=max(0, self.consumed - self._before), limit=max(0, limit))

    def _batch(self, batch: Batch, arrays: Sequence[Array], now: float) -> list[SessionInstruction]:
        expected = self.delivered - self._before
        if batch.sequence < expected or self.plan is None:
            return []  # repeated, or ahead of its welcome: then it is found missing, or comes again
        if batch.sequence > expected or batch.start != self.position:
            return self._again(f"batch {batch.sequence} at {batch.start} instead of {expected} at {self.position}", now)
        out = self._close_epoch()
        what = f"delivered to rank {self.config.rank} in the batches of positions {batch.start} to {batch.stop}"
        self.log.add_tasks(now, self.config.stream, self.plan.geometry.tasks_between(batch.start, batch.stop), what)
        self.position = batch.stop
        self.delivered += len(batch.stops)
        self._patience = 1
        return [*out, Deliver(batch, arrays)]

    def _epoch_end(self, end: EpochEnd, now: float) -> list[SessionInstruction]:
        if end.stop <= self._ended or self.plan is None:
            return []
        if end.sequence != self.delivered - self._before:
            return self._again(f"epoch {end.epoch} ended before batch {end.sequence}", now)
        if end.stop != (due := self._next_end(self.plan)):
            return self._again(f"an epoch ended at {end.stop} and not at {due}", now)
        self.position = self._ended = end.stop
        return [Ended(end.stop, end)]

    def _next_end(self, plan: StreamPlan) -> int:
        """Return where the epoch ends whose end was not reported yet; epochs without a batch have ends, too."""
        samples = plan.geometry.samples_per_epoch
        if self.position > self._ended and self.position % samples == 0:
            return self.position
        return (self.position // samples + 1) * samples

    def _compare(self, sent: int | None, now: float) -> list[SessionInstruction]:
        """Notice that something was lost after which nothing else comes: the welcome, or all that there was credit for.

        Two heartbeats must say so, and nothing may have come between them: what is on its way is not lost.
        """
        if sent is None or (sent <= self.position and self.plan is not None):
            self._behind = None
        elif self._behind == self.position:
            return self._again(f"batches that the sink sent, up to {sent}, did not arrive", now)
        else:
            self._behind = self.position
        return []

    def _close_epoch(self) -> list[SessionInstruction]:
        """Report an epoch as ended if its last batch came and the sink's report did not."""
        if self.plan is None or self.position <= self._ended or self.position % self.plan.geometry.samples_per_epoch:
            return []
        self._ended = self.position
        return [Ended(self.position, None)]

    def _again(self, why: str, now: float) -> list[SessionInstruction]:
        if self.plan is not None:
            due = self.plan.geometry.tasks_between(self.position, self.position + 1)
            self.log.add_tasks(
                now, self.config.stream, due, f"awaited at rank {self.config.rank}; subscribed again: {why}"
            )
        return [
            Note("subscribing again", {"why": why, "position": self.position}, "warning"),
            Reopen(SINK),
            *self.start(now),
        ]
