"""The trainer's thread: carries a `Session`'s messages while the training program computes.

Owns the DEALER socket to the sink, so that heartbeats are answered and batches arrive during long training steps. The
program's side is `take`, `consumed`, `seek` and `close`.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

from penstock.protocol import wire
from penstock.protocol.errors import (
    FailureBudgetError,
    PenstockError,
    RefusedError,
    TransformError,
)
from penstock.protocol.instructions import Failed, Note, Reopen, Send
from penstock.protocol.messages import (
    AnyMessage,
    Batch,
    Credit,
    EpochEnd,
    Heartbeat,
    Intervals,
    Refused,
    Reset,
    StoryRequest,
    TrainerWelcome,
)
from penstock.protocol.plan import StreamPlan
from penstock.protocol.runtime.log import library_logger
from penstock.protocol.stats import FeedWaits
from penstock.protocol.transport.keys import KeyRing
from penstock.protocol.transport.receiving import receive_all
from penstock.protocol.transport.sockets import Hub
from penstock.protocol.transport.tracer import Tracer
from penstock.protocol.wire import Array
from penstock.trainer.client.inbox import Inbox
from penstock.trainer.client.session import Deliver, Ended, Rejected, Session, SessionInstruction, SubscriptionConfig
from penstock.trainer.client.shared_batches import Borrowing
from penstock.trainer.feed.supply import Event, Ready

_FROM_SINK = wire.kinds(TrainerWelcome, Batch, EpochEnd, Refused, Heartbeat, Reset, StoryRequest)
#: Errors for refusals, by kind; all others are RefusedError.
_ERRORS: dict[str, type[PenstockError]] = {"budget": FailureBudgetError, "transform": TransformError}
#: Least time (s) between two reports to the sink of how long the program has waited.
_TELL_S = 0.5


class Link(Inbox):
    """One subscription kept alive by a thread of its own."""

    def __init__(  # noqa: PLR0913 - the last one by keyword
        self,
        address: str,
        config: SubscriptionConfig,
        position: int,
        fingerprint: str,
        keys: KeyRing | None = None,
        waits: Callable[[], FeedWaits] | None = None,
        *,
        find: Callable[[], str] | None = None,
    ) -> None:
        """Connect and subscribe from `position`; with `keys`, only to a sink that has the right one.

        `waits` tells how long the program has waited; the sink hears of it now and then. `find` says where the sink is
        now, when the link was lost.
        """
        self._log = library_logger("trainer", stream=config.stream, rank=config.rank, sink=address)
        self._config, self._waits, self._find = config, waits, find
        #: Time of the last report to the sink of how long the program has waited (monotonic s).
        self._told_at = 0.0
        super().__init__()
        self._consumed = 0
        self._seek: tuple[int, str] | None = None
        self._closing = False
        self._hub = Hub(self._log, keys)
        self._hub.tracer = Tracer.from_environment("trainer")
        #: Position after the batch that the program has; kept for the tracer.
        self._in_hand = 0
        self._borrowing = Borrowing(copies=config.copies)
        self._hub.memory = self._borrowing.attachments
        self._socket = self._hub.dealer(address, _FROM_SINK, "sink")
        now = time.monotonic()
        self.session = Session(config, position, fingerprint, Intervals(), now)
        #: The last observation of the session for the program's threads; the session itself belongs to this link's
        #: thread.
        self._seen = self.session.observe(now)
        self._thread = threading.Thread(target=self._run, name=f"penstock {config.stream}", daemon=True)
        self._thread.start()

    def _taken(self, event: Event) -> None:
        """Report the event to the tracer."""
        if self._hub.tracer and isinstance(event, Ready):
            self._hub.tracer.handed(self._config.stream, event.stop, over=False)
            self._in_hand = event.stop

    def welcomed(self, timeout_s: float) -> bool:
        """Wait until the sink has answered; return whether it has. A refusal stays in `take`."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._seen.plan is not None or bool(self._events) or self._failed is not None, timeout_s
            )

    @property
    def plan(self) -> StreamPlan | None:
        """The stream's plan, once the sink has answered."""
        return self._seen.plan

    @property
    def advice(self) -> str:
        """What to check if nothing comes; a handshake fails where keys do not match, or one side has none."""
        refused = self._hub.rejects.counts["refused"] > 0
        hint = "; a service answers there, but refused the connection: give keys=, and see its log" if refused else ""
        return (
            "check that ventilator, sink and at least one worker run, and that this is the sink's address for trainers"
            + hint
            + (f"; {self._socket.problem}" if self._socket.problem else "")
        )

    def consumed(self) -> None:
        """Count one more batch as consumed; the sink hears of several at once while it has credit left."""
        if self._hub.tracer:
            self._hub.tracer.handed(self._config.stream, self._in_hand, over=True)
        with self._changed:
            self._consumed += 1
            pressing = self._consumed >= self._seen.grant_after
        if pressing:
            self._hub.wake()

    def seek(self, position: int, fingerprint: str) -> None:
        """Continue from another position: batches that wait here are dropped."""
        with self._changed:
            self._seek = (position, fingerprint)
            self._events.clear()
        self._hub.wake()

    def close(self, *, wait: bool = True) -> None:
        """Unsubscribe and end the thread, and `wait` until it has ended."""
        with self._changed:
            self._closing = True
        self._hub.wake()
        if wait:
            self._join(self._thread)

    def _run(self) -> None:
        try:
            now = time.monotonic()
            self._execute(self.session.start(now))
            while not self._closing:
                self._hub.wait(min(self.session.next_timer(now) - now, 1.0))
                now = time.monotonic()
                self._turn(now)
            self._execute(self.session.leave())
        except BaseException as error:  # noqa: BLE001 - raised where the program waits
            self.fail(error)
        finally:
            self._socket.close(linger_s=0.5)
            self._hub.close()

    def _turn(self, now: float) -> None:
        with self._changed:
            seek, self._seek = self._seek, None
            consumed, self._consumed = self._consumed, 0
        if seek:
            self.session = Session(self._config, *seek, self.session.live.intervals, now, self.session.plan)
            self._borrowing.forget()
            self._socket.reopen()
            with self._changed:
                self._events.clear()
            self._execute(self.session.start(now))
        elif consumed:
            self._execute(self.session.consume(consumed, now))
        receive_all(self._socket, self._hub.rejects, lambda _, message, arrays: self._receive(message, arrays, now))
        self._borrowing.failed(self._hub.rejects.counts["shared"], now)
        self._borrowing.attempt(now)
        self._execute(self.session.tick(now))
        self._show(now)

    def _show(self, now: float) -> None:
        """Observe the session for the program's threads; wake them once the sink has answered."""
        seen = self.session.observe(now)
        with self._changed:
            answered = seen.plan is not None and self._seen.plan is None
            self._seen = seen
            if answered:
                self._changed.notify_all()

    def _receive(self, message: AnyMessage, arrays: Sequence[Array], now: float) -> None:
        batches: Sequence[dict[str, Array]] = ()
        if isinstance(message, Batch) and self.session.plan:
            batches, arrays = self._borrowing.own(message, arrays, self.session.plan), ()
        if isinstance(message, TrainerWelcome):
            self._borrowing.meet(message.memory, now)
        self._execute(self.session.receive(message, arrays, now), batches)
        if isinstance(message, TrainerWelcome):  # now it is known how large batches are, and how to get them
            self._show(now)
            self._execute(self.session.consume(0, now))

    def _execute(self, instructions: Iterable[SessionInstruction], batches: Sequence[dict[str, Array]] = ()) -> None:
        """Carry out what the session asks for; `batches` are those of the message that it was given."""
        for instruction in instructions:
            match instruction:
                case Send(message=Credit() as credit):
                    self._socket.send(self._complete(credit))
                case Send(message=message):
                    self._socket.send(message)
                case Deliver(batch):
                    self._put(*map(Ready, batches, batch.stops))
                case Ended():
                    self._put(instruction)
                case Rejected(refused):
                    self._put(_ERRORS.get(refused.kind, RefusedError)(refused.reason))
                case Reopen():
                    self._borrowing.forget()
                    self._socket.reopen(self._found())
                case Note(event, fields, level):
                    getattr(self._log, level)(event, **fields)
                case Failed(reason):
                    self._put(PenstockError(reason))
                case _:
                    assert_never(instruction)

    def _complete(self, credit: Credit) -> Credit:
        """Add what only this shell knows: whether memory is shared and, now and then, how long the program waited."""
        known: dict[str, object] = {"sees_memory": True} if self._borrowing.shares else {}
        now = time.monotonic()
        if self._waits and now >= self._told_at + _TELL_S:
            self._told_at = now
            known["feed"] = self._waits()
        return credit.model_copy(update=known) if known else credit

    def _found(self) -> str | None:
        """Return where the sink is now; None: where it was, as far as is known."""
        if self._find is None:
            return None
        try:
            return self._find()
        except (PenstockError, OSError) as error:  # it is asked again after the next silence
            self._log.warning("the sink's place is not known", why=str(error))
            return None

    def _put(self, *events: Event) -> None:
        with self._changed:
            if self._seek is None:  # else they belong to a position that was left
                self._events.extend(events)
                self._changed.notify_all()
