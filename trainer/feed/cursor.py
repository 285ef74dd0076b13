"""Tracks a feed's position in its stream, and which iteration may take the next batch.

Holds the link and the position. Only one iteration at a time takes batches: a newer one ends an older one, even
while the older one waits in another thread (tf.data's).
"""

import os
import threading
from array import array
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Generic

from penstock.protocol.errors import AbandonedError, DeadlineError, PenstockError, RefusedError, SpecError
from penstock.protocol.messages import EpochEnd
from penstock.trainer.client.session import SubscriptionConfig
from penstock.trainer.feed.supply import AnyPlan, Ready, Supply
from penstock.trainer.feed.turn import Turn

#: Accounts of ended epochs that are kept: the newest, about 1 KB each.
KEPT_ACCOUNTS = 100


class Cursor(Generic[AnyPlan]):
    """A position in a stream, the supply of its batches, and the claim of one iteration on both."""

    def __init__(
        self,
        address: str,
        config: SubscriptionConfig,
        timeout_s: float,
        open_supply: Callable[[int, str], Supply[AnyPlan]],
        plan: AnyPlan | None = None,
    ) -> None:
        """Stand at position 0; `open_supply(position, fingerprint)` connects, on first use; `plan` may be known."""
        self.address, self.config, self.timeout_s, self._open = address, config, timeout_s, open_supply
        #: Position after the batch that was handed out last.
        self.position = 0
        #: Accounts of the epochs that ended last.
        self.epochs: deque[EpochEnd] = deque(maxlen=KEPT_ACCOUNTS)
        #: Of the epoch that is being iterated: where each batch stopped, and whether its end was reached.
        self.stops = array("q")
        self.finished = True
        #: Gets the position after each batch handed out; None without a follower.
        self.tracks: deque[int] | None = None
        #: Number of the iteration that may take batches, and whether that number was drawn by a seek.
        self.iteration, self.sought = 0, False
        #: A batch that was looked at ahead of its turn.
        self.held: Ready | None = None
        #: Looking ahead passed the end of an epoch, which its iteration has yet to see. A batch is being taken, also if
        #: an interrupt ended that.
        self._ended_ahead, self._taking = False, False
        #: Held while an event is taken and counted; and, briefly, while the link is made, claimed or closed.
        #: The garbage collector may move or close a cursor on a thread that holds one of them.
        self.turn, self._guard = Turn(), threading.RLock()
        self._fingerprint = ""
        self._link: Supply[AnyPlan] | None = None
        self._plan = plan
        self._pid = os.getpid()
        self._error: PenstockError | None = None
        self._closed, self._in_hand = False, False

    def __repr__(self) -> str:
        """Show stream, address and position."""
        config = self.config
        share = f" rank {config.rank}/{config.world_size}" if config.world_size > 1 else ""
        return f"<Feed {config.stream!r}{share} from {self.address} at position {self.position}{self.state}>"

    @property
    def state(self) -> str:
        """How the feed ended, to be appended to its representation; empty while it can be used."""
        return ", closed" if self._closed else f", failed: {self._error}" if self._error else ""

    @property
    def known_plan(self) -> AnyPlan | None:
        """The stream's plan, without waiting; None if it is not known yet."""
        return self._plan or (self._link.plan if self._link else None)

    @property
    def plan(self) -> AnyPlan:
        """The stream's plan; the first use waits for it."""
        if self._plan is None:
            link = self._connect()
            if not link.welcomed(self.timeout_s):
                raise _too_late(self, "answer", link)
            if link.plan is None:
                self._raise(link.take(0))
            self._plan = link.plan
        assert self._plan is not None  # noqa: S101 - just waited for
        return self._plan

    @property
    def fingerprint(self) -> str:
        """The fingerprint that the position belongs to; empty while it is unknown."""
        plan = self.known_plan
        return plan.fingerprint if plan else self._fingerprint

    def claim(self) -> int:
        """Become the iteration that may take batches; an older one that waits for one is woken and ends."""
        with self._guard:
            self.iteration += 1
            self.sought = False
            if self._link:
                self._link.nudge()
            return self.iteration

    def claim_next_epoch(self) -> int:
        """Claim, and go on with the next epoch if this one was broken off."""
        if _complete(self):  # nothing is left of it but its account: another thread may be about to take that
            with self.turn:
                if _complete(self):
                    self.held = self.pull(self.iteration) or self.held
                    self.finished = True
        mine = self.claim()
        with self.turn:
            if not self.finished and self.stops:
                if self.tracks is not None:
                    self.tracks.clear()
                self._move(_epoch_stop(self), self.fingerprint)
        return mine

    def seek(self, position: int, fingerprint: str) -> None:
        """Go on from another position; ends the current iteration."""
        self.claim()
        self.sought = True
        self.turn.run(lambda: self._move(position, fingerprint))

    def next(self, mine: int) -> Ready | None:
        """Hand the next batch out, or return None where the iteration ends: with its epoch, or by a seek."""
        with self.turn, self._attempt():
            try:
                ready = self.pull(mine)
            except AbandonedError:
                if self.sought:
                    return None
                raise
            if ready:
                self._hand_out(ready)
            else:
                self.finished = True
        return ready

    def peek(self) -> Ready | None:
        """Return the next batch, perhaps the next epoch's, which stays the next one; None if a whole epoch has none."""
        while True:
            try:
                return self._peek()
            except AbandonedError:
                if not self.sought:  # or look at the place that the feed was moved to meanwhile
                    raise

    def _peek(self) -> Ready | None:
        with self.turn, self._attempt():
            ended, self._ended_ahead = self._ended_ahead, False
            try:
                for _ in range(2):
                    self.held = self.held or self.pull(self.iteration)
                    if self.held:
                        break
                    ended = ended or not self.finished
            finally:
                self._ended_ahead = ended
            return self.held

    def pull(self, mine: int) -> Ready | None:
        """Return the next batch, or None at the end of an epoch. The caller holds `turn`."""
        if self.iteration != mine:
            raise _abandoned(repr(self))
        if self._ended_ahead:
            self._ended_ahead = False
            return None
        if self.held:
            held, self.held = self.held, None
            return held
        link = self._connect()
        if self._in_hand:
            link.consumed()
            self._in_hand = False
        event = link.take(self.timeout_s, lambda: self.iteration == mine)
        if isinstance(event, Ready):
            return event
        if event is None or isinstance(event, PenstockError):
            if event is None and self.iteration != mine:
                raise _abandoned(repr(self))
            self._raise(event)
        else:
            self.position = event.stop
            if self.stops:
                self.stops[-1] = event.stop
            if event.report:
                self.epochs.append(event.report)
        return None

    def after(self, batches: int | None) -> int:
        """Return the position after that many batches of the current iteration; None: after the last."""
        if batches is None or batches >= len(self.stops):
            return self.position
        if batches == 0:
            raise SpecError("state_dict(batches=0): nothing was trained on in this iteration; keep the state you have")
        return self.stops[batches - 1]

    def fail(self, error: PenstockError) -> None:
        """Make every wait raise `error`."""
        with self._guard:  # a link that is being made is either told below or not made
            self._error = error
            link = self._link
        if link:
            link.fail(error)

    def close(self, *, wait: bool = True) -> None:
        """Unsubscribe, for good; a wait in another thread ends. Without `wait`, the link's thread may end later.

        Does nothing in a forked process: the subscription is its parent's.
        """
        if self._pid != os.getpid():
            return
        with self._guard:
            link, self._link = self._link, None
            if not self._closed:
                self._error = RefusedError(f"{self!r} is closed; make a new one")
                self._closed = True
        if link:
            link.fail(self._error or RefusedError("closed"))
            link.close(wait=wait)

    def _connect(self) -> Supply[AnyPlan]:
        with self._guard:
            if self._error:
                raise self._error
            if self._pid != os.getpid():
                raise SpecError(
                    f"{self!r} was made in process {self._pid} and used in {os.getpid()}: connect after the fork"
                )
            if self._link is None:
                self._link = self._open(self.position, self._fingerprint)
            return self._link

    @contextmanager
    def _attempt(self) -> Generator[None]:
        """Take a batch; ask again from `position` if an interrupt lost one that the link had given away already."""
        if self._taking and self._link:
            self.held, self._in_hand, self._ended_ahead = None, False, False
            self._link.seek(self.position, self.fingerprint)
        self._taking = True
        try:
            yield
        except PenstockError:
            self._taking = False
            raise
        self._taking = False

    def _hand_out(self, ready: Ready) -> None:
        self._in_hand = True
        self.position = ready.stop
        self.stops.append(ready.stop)
        if self.tracks is not None:
            self.tracks.append(ready.stop)

    def _move(self, position: int, fingerprint: str) -> None:
        self.position, self._fingerprint = position, fingerprint
        self.stops, self.finished = array("q"), True
        self._in_hand, self.held, self._ended_ahead = False, None, False
        if not self._closed:
            self._error = None
        if self._link:
            self._link.seek(position, fingerprint)

    def _raise(self, event: object) -> None:
        if isinstance(event, PenstockError):
            self._error = event
            raise event
        raise _too_late(self, "batch" if self._plan else "answer", self._link)


def _abandoned(feed: str) -> AbandonedError:
    return AbandonedError(
        f"{feed}: this iteration was left for a newer one; iterate a feed in one place at a time, or make another feed "
        "(each gets every batch)"
    )


def _too_late(cursor: Cursor[AnyPlan], what: str, link: Supply[AnyPlan] | None) -> DeadlineError:
    return DeadlineError(
        f"no {what} for stream {cursor.config.stream!r} from {cursor.address} within {cursor.timeout_s} s: "
        f"{link.advice if link else 'the feed was closed meanwhile'}"
    )


def _complete(cursor: Cursor[AnyPlan]) -> bool:
    """Return whether no batch of the epoch can follow, though its end was not reached."""
    if cursor.finished or not cursor.stops:
        return False
    settings = cursor.plan.settings
    least = cursor.config.world_size * (settings.batch_size if settings.drop_remainder else 1)
    return _epoch_stop(cursor) - cursor.position < least


def _epoch_stop(cursor: Cursor[AnyPlan]) -> int:
    return cursor.plan.epoch_span(cursor.plan.epoch_of(cursor.stops[0] - 1))[1]
