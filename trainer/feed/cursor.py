"""Tracks a feed's position in its stream, and which iteration may take the next batch.

Holds the link and the position. Only one iteration at a time takes batches: a newer one ends an older one, even
while the older one waits in another thread (tf.data's).
"""

import os
import threading
from array import array
from collections import deque
from collections.abc import Callable
from typing import Generic

from penstock.protocol.errors import AbandonedError, DeadlineError, PenstockError, RefusedError, SpecError
from penstock.protocol.messages import EpochEnd
from penstock.trainer.client.session import SubscriptionConfig
from penstock.trainer.feed.supply import AnyPlan, Ready, Supply

#: Accounts of ended epochs that are kept: the newest, about 1 KB each.
KEPT_ACCOUNTS = 100


class Cursor(Generic[AnyPlan]):
    """A position in a stream, what brings its batches, and the claim of one iteration on both."""

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
        #: Gets the position after each batch handed out, if anybody follows.
        self.tracks: deque[int] | None = None
        #: Number of the iteration that may take batches, and whether that number was drawn by a seek.
        self.iteration, self.sought = 0, False
        #: A batch that was looked at ahead of its turn.
        self.held: Ready | None = None
        #: Held while an event is taken and counted; and, briefly, while the link is made, claimed or closed.
        #: The garbage collector may close a cursor on a thread that holds the second one.
        self.turn, self._guard = threading.Lock(), threading.RLock()
        self._fingerprint = ""
        self._link: Supply[AnyPlan] | None = None
        self._plan = plan
        self._pid = os.getpid()
        self._error: PenstockError | None = None
        self._closed = False
        self._in_hand = False

    def __repr__(self) -> str:
        """Show stream, address and position."""
        config = self.config
        share = f" rank {config.rank}/{config.world_size}" if config.world_size > 1 else ""
        return f"<Feed {config.stream!r}{share} from {self.address} at position {self.position}>"

    @property
    def plan(self) -> AnyPlan:
        """What is known of the stream; the first use waits for it."""
        if self._plan is None:
            link = self._connect()
            if not link.welcomed(self.timeout_s):
                raise self._too_late("answer")
            if link.plan is None:
                self._raise(link.take(0))
            self._plan = link.plan
        assert self._plan is not None  # noqa: S101 - just waited for
        return self._plan

    @property
    def fingerprint(self) -> str:
        """The fingerprint that the position belongs to; empty while it is unknown."""
        plan = self._plan or (self._link.plan if self._link else None)
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
        if self._complete():  # nothing is left of it but its account: another thread may be about to take that
            with self.turn:
                if self._complete():
                    self.held = self.pull(self.iteration)
                    self.finished = True
        mine = self.claim()
        with self.turn:
            if not self.finished and self.stops:
                if self.tracks is not None:
                    self.tracks.clear()
                self._move(self._epoch_stop(), self.fingerprint)
        return mine

    def seek(self, position: int, fingerprint: str) -> None:
        """Go on from another position; ends the current iteration."""
        self.claim()
        self.sought = True
        with self.turn:
            self._move(position, fingerprint)

    def next(self, mine: int) -> Ready | None:
        """Hand the next batch out, or return None where the iteration ends: with its epoch, or by a seek."""
        with self.turn:
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

    def pull(self, mine: int) -> Ready | None:
        """Return the next batch, or None at the end of an epoch. The caller holds `turn`."""
        if self.iteration != mine:
            raise self._abandoned()
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
                raise self._abandoned()
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
                self._closed = True
                self._error = RefusedError(f"{self!r} is closed; make a new one")
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

    def _hand_out(self, ready: Ready) -> None:
        self._in_hand = True
        self.position = ready.stop
        self.stops.append(ready.stop)
        if self.tracks is not None:
            self.tracks.append(ready.stop)

    def _complete(self) -> bool:
        """Return whether no batch of the epoch can follow, though its end was not reached."""
        if self.finished or not self.stops:
            return False
        settings = self.plan.settings
        least = self.config.world_size * (settings.batch_size if settings.drop_remainder else 1)
        return self._epoch_stop() - self.position < least

    def _epoch_stop(self) -> int:
        return self.plan.epoch_span(self.plan.epoch_of(self.stops[0] - 1))[1]

    def _move(self, position: int, fingerprint: str) -> None:
        self.position, self._fingerprint = position, fingerprint
        self.stops, self.finished = array("q"), True
        self._in_hand, self.held = False, None
        if not self._closed:
            self._error = None
        if self._link:
            self._link.seek(position, fingerprint)

    def _raise(self, event: object) -> None:
        if isinstance(event, PenstockError):
            self._error = event
            raise event
        raise self._too_late("batch" if self._plan else "answer")

    def _abandoned(self) -> AbandonedError:
        return AbandonedError(
            f"{self!r}: this iteration was left for a newer one; iterate a feed in one place at a time, or make "
            "another feed (each gets every batch)"
        )

    def _too_late(self, what: str) -> DeadlineError:
        return DeadlineError(
            f"no {what} for stream {self.config.stream!r} from {self.address} within {self.timeout_s} s: "
            f"{self._link.advice if self._link else 'the feed was closed meanwhile'}"
        )
