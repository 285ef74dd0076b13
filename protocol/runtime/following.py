"""Which of several ventilators a worker or a sink follows: the one that acts, told by its welcome.

No I/O. Theory of operation. A service has a link to each ventilator's address and says hello on all of them; one that
waits for its turn does not answer. The welcome bears the *term* of its ventilator. The highest term counts: from then
on nothing is taken of any other link, and a welcome with a lower term is ignored for good, also one of a ventilator
that was stopped for hours and goes on as if nothing had happened. While one is followed, the others still hear a hello
now and then, so that one that begins to act is known within a heartbeat.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from penstock.protocol.messages import AnyMessage, Drain, Hello, Reset, SinkHello, SinkWelcome, WorkerWelcome


@dataclass(slots=True)
class Following:
    """The links of one service to its ventilators, by number."""

    links: int = 1
    #: The link whose ventilator is followed; None: none has answered.
    followed: int | None = None
    #: The highest term that was heard.
    term: int = 0
    #: Welcomes that came too late: of ventilators that act no more.
    stale: int = 0
    _greeted_at: float = float("-inf")

    def takes(self, link: int, message: AnyMessage) -> bool:
        """Return whether to take in a message of a link; follow that link if it is the right welcome."""
        match message:
            case WorkerWelcome(term=term) | SinkWelcome(term=term):
                if term < self.term or (term == self.term and self.followed not in (None, link)):
                    self.stale += 1
                    return False
                self.followed, self.term = link, term
                return True
            case Reset() | Drain():  # what says that we have to begin again, or cannot be served
                return self.followed in (None, link)
            case _:
                return self.followed == link

    def leave(self) -> None:
        """Follow none: the one that was followed is silent, or its link is opened again."""
        self.followed = None

    def targets(self, message: AnyMessage) -> Sequence[int]:
        """Return the links on which to send a message: that of the followed one, or a greeting on all."""
        if self.followed is not None:
            return (self.followed,)
        return range(self.links) if self.links == 1 or isinstance(message, Hello | SinkHello) else ()

    def greet(self, now: float, every_s: float) -> Sequence[int]:
        """Return the links on which to say hello besides, now; call it at `next_timer` or more often."""
        if self.links == 1 or self.followed is None or now < self._greeted_at + every_s:
            return ()
        self._greeted_at = now
        return [link for link in range(self.links) if link != self.followed]

    def next_timer(self, now: float, every_s: float) -> float:
        """Return when to call `greet` next."""
        if self.links == 1 or self.followed is None:
            return float("inf")
        return max(now, self._greeted_at + every_s)
