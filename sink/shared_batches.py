"""Batches that trainers on this host read from shared memory; keeps the memory of those that are not consumed."""

from collections import deque
from collections.abc import Container, Sequence

from penstock.protocol.messages import Batch, Credit, TrainerWelcome
from penstock.protocol.transport.segments import Segment
from penstock.protocol.transport.shared_memory import LEAST_BYTES, by_reference
from penstock.protocol.wire import Array

_Kept = deque[tuple[int, Sequence[Array]]]


class Lending:
    """One sink's trainers that share its memory, by the routing identity of their subscription."""

    def __init__(self) -> None:
        """Lend nothing yet. Raises OSError where there is no such memory."""
        self._probe = Segment.create(LEAST_BYTES)
        #: For each trainer that can open our memory: memory that was sent and is not consumed, by batch number.
        self._kept: dict[bytes, _Kept] = {}

    @property
    def count(self) -> int:
        """How many trainers share memory."""
        return len(self._kept)

    def welcome(self, message: TrainerWelcome) -> TrainerWelcome:
        """Return the welcome with a segment for the trainer to try."""
        return message.model_copy(update={"memory": self._probe.reference(0)})

    def credit(self, peer: bytes, credit: Credit) -> None:
        """Handle a trainer's credit: what it has consumed, and whether it can open our memory."""
        if credit.sees_memory:
            kept = self._kept.setdefault(peer, deque())
            while kept and kept[0][0] < credit.consumed:
                kept.popleft()

    def send(self, peer: bytes, batch: Batch, arrays: Sequence[Array]) -> tuple[Batch, Sequence[Array]]:
        """Return the batch as it goes to this trainer: by reference, as far as it lies in memory that it shares."""
        kept = self._kept.get(peer)
        if kept is None:
            return batch, arrays
        lent, others = by_reference(batch, arrays)
        if len(others) < len(arrays):
            kept.append((batch.sequence + len(batch.stops) - 1, arrays))
        return lent, others

    def keep_only(self, peers: Container[bytes]) -> None:
        """Forget trainers that are gone, and what was kept for them."""
        for peer in [peer for peer in self._kept if peer not in peers]:
            del self._kept[peer]
