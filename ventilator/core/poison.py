"""Charges lost workers to the work that they ran, and takes the charge back when one of them turns up again.

Part of the leases core: no socket, no clock. `item_deaths.py` counts, `leases.py` notices losses, `suspects.py` decides
where charged work runs next.
"""

from collections.abc import Mapping
from itertools import islice

from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.messages import Quarantined
from penstock.ventilator.core.item_deaths import Charge, Loss
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.work import Work
from penstock.ventilator.core.worker import Worker
from penstock.ventilator.core.workers import Workers

#: Charges that are remembered in case the worker turns up again.
_CHARGES = 1024


class Poison:
    """Charges for lost workers, and the reports to the sink of items that were given up for them."""

    def __init__(self, queues: Mapping[str, StreamQueue], workers: Workers) -> None:
        """Start without charges."""
        self._queues, self._workers = queues, workers
        #: Charges of lost workers, by incarnation: stream and charge.
        self._charged: dict[str, tuple[str, Charge]] = {}

    def charge(self, work: Work, lost: Worker, loss: Loss, sink: bytes | None, now: float) -> list[Instruction]:
        """Charge a worker's loss to the work that it ran; tell the sink, if there is one, of items given up for it."""
        queue = self._queues[work.key.stream]
        charge = queue.charge(work, loss, now)
        self._remember(lost.hello.incarnation, work.key.stream, charge)
        if work.failure is None:
            return []
        fields = {"stream": work.key.stream, "path": work.failure.path, "reason": work.failure.reason}
        return [*_tell(sink, queue.untold()), Note("item quarantined", fields, "error")]

    def endangered(self) -> list[bytes]:
        """Return the workers that will run a suspect next, together with other items or after other work."""
        return [
            peer
            for peer, worker in self._workers.items()
            if any(self._queues[key.stream].deaths.concerns(key) for key in islice(worker.held, 1, None))
        ]

    def refund(self, incarnation: str) -> list[Note]:
        """Take back the charge of a worker that has turned up again; return a note of items no longer given up."""
        stream, charge = self._charged.pop(incarnation, ("", Charge()))
        revoked = self._queues[stream].refund(charge, self._workers.is_held) if stream else []
        fields = {"stream": stream, "items": revoked, "why": "a worker that was taken for dead is back"}
        return [Note("quarantine revoked", fields, "warning")] if revoked else []

    def untold(self, sink: bytes) -> list[Send]:
        """Tell the sink of items given up since the last call."""
        return _tell(sink, [work for queue in self._queues.values() for work in queue.untold()])

    def repeat(self, sink: bytes) -> list[Send]:
        """Tell the sink of all given-up work that it still misses: any message may have been lost."""
        queues = [queue for queue in self._queues.values() if queue.deaths.poison]
        return _tell(sink, [work for queue in queues for work in queue.works.values() if work.failure])

    def _remember(self, incarnation: str, stream: str, charge: Charge) -> None:
        self._charged[incarnation] = (stream, charge)
        if len(self._charged) > _CHARGES:
            del self._charged[next(iter(self._charged))]


def _tell(sink: bytes | None, works: list[Work]) -> list[Send]:
    if sink is None:
        return []
    return [Send(sink, Quarantined(key=work.key, failure=work.failure)) for work in works if work.failure]
