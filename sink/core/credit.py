"""Credit between a sender and a receiver of batches: an absolute limit, so repeats and stragglers do no harm.

The receiver grants "up to batch number `limit`" and says how many it has consumed; the sender counts what it sent and
what is still on its way. Both numbers only ever rise. No socket, no clock.
"""

from collections import deque
from dataclasses import dataclass, field

from penstock.protocol.errors import RemoteProtocolError


@dataclass(slots=True)
class SendingCredit:
    """The sender's side of one subscription."""

    #: Batches that may be sent in all.
    limit: int = 0
    #: Batches sent.
    sent: int = 0
    #: Batches consumed by the receiver.
    consumed: int = 0
    #: Samples in batches that were sent and are not consumed.
    in_flight: int = 0
    _sizes: deque[int] = field(default_factory=deque)

    def update(self, consumed: int, limit: int) -> bool:
        """Handle a grant; return whether more was consumed, so that more samples may be made.

        Raises RemoteProtocolError if it claims to have consumed more than was sent.
        """
        if consumed > self.sent:
            raise RemoteProtocolError("credit", f"{consumed} batches consumed of {self.sent} sent")
        landed = consumed > self.consumed
        self.limit = max(self.limit, limit)
        while self.consumed < consumed:
            self.in_flight -= self._sizes.popleft()
            self.consumed += 1
        return landed

    def spend(self, samples: int) -> None:
        """Count one batch of a round of `samples` as sent."""
        assert self.available, "sent without credit"  # noqa: S101 - the caller asks first
        self._sizes.append(samples)
        self.in_flight += samples
        self.sent += 1

    @property
    def available(self) -> int:
        """How many more batches may be sent."""
        return max(0, self.limit - self.sent)

    def validate(self) -> None:
        """Raise AssertionError if an invariant does not hold."""
        assert 0 <= self.consumed <= self.sent <= max(self.limit, self.sent)  # noqa: S101
        assert self.sent - self.consumed == len(self._sizes)  # noqa: S101
        assert sum(self._sizes) == self.in_flight  # noqa: S101
