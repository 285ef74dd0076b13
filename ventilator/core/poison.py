"""Charges work with the death of the worker that ran it, and gives items up after several deaths.

Part of the leases core: no socket, no clock. A charge is taken back if the worker turns up again. `leases.py` notices
deaths; `suspects.py` decides where charged work runs next.
"""

from collections.abc import Mapping

from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.messages import Quarantined, TaskKey
from penstock.ventilator.core.stream_queue import StreamQueue, Work
from penstock.ventilator.core.workers import Worker

#: Charges that are remembered in case the worker turns up again.
_CHARGES = 1024


class Poison:
    """Deaths, and the items that were given up for them."""

    def __init__(self, queues: Mapping[str, StreamQueue], attempts: int) -> None:
        """Give an item up once so many workers have died running it."""
        self._lanes, self._attempts = queues, attempts
        #: What a lost worker was charged for, by its incarnation.
        self._charged: dict[str, TaskKey] = {}

    def charge(self, work: Work, worker: Worker, sink: bytes | None) -> list[Instruction]:
        """Charge what a worker ran with its death; tell the sink, if there is one, of what is given up for that."""
        queue = self._lanes[work.key.stream]
        queue.charge(work, self._attempts, worker.hello.worker)
        if work.failure is None:
            self._remember(worker.hello.incarnation, work.key)
            return []
        fields = {"stream": work.key.stream, "path": work.failure.path, "reason": work.failure.reason}
        return [*_tell(sink, queue.untold()), Note("item quarantined", fields, "error")]

    def refund(self, incarnation: str) -> None:
        """Take back what a worker was charged for that has turned up again."""
        if charged := self._charged.pop(incarnation, None):
            self._lanes[charged.stream].refund(charged)

    def untold(self, sink: bytes) -> list[Send]:
        """Tell the sink what it was not told yet."""
        return _tell(sink, [work for queue in self._lanes.values() for work in queue.untold()])

    def repeat(self, sink: bytes) -> list[Send]:
        """Tell the sink all that was given up and that it still misses: any message may have been lost."""
        queues = [queue for queue in self._lanes.values() if queue.poison]
        return _tell(sink, [work for queue in queues for work in queue.works.values() if work.failure])

    def _remember(self, incarnation: str, key: TaskKey) -> None:
        self._charged[incarnation] = key
        if len(self._charged) > _CHARGES:
            del self._charged[next(iter(self._charged))]


def _tell(sink: bytes | None, works: list[Work]) -> list[Send]:
    if sink is None:
        return []
    return [Send(sink, Quarantined(key=work.key, failure=work.failure)) for work in works if work.failure]
