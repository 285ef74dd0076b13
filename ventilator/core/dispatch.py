"""Which ready work goes to which worker: lowest position first, streams in turn by how far ahead they are.

Part of the leases core: no socket, no clock.
"""

from collections.abc import Mapping

from penstock.protocol.event_log import EventLog
from penstock.protocol.instructions import Instruction, Send
from penstock.protocol.messages import Task, Tasks
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.suspects import Suspects
from penstock.ventilator.core.work import Work
from penstock.ventilator.core.workers import Workers


class Dispatcher:
    """Leases ready work to workers with free slots."""

    def __init__(self, queues: Mapping[str, StreamQueue], workers: Workers, suspects: Suspects, log: EventLog) -> None:
        """Lease the work of `queues` to `workers`; suspected work goes through `suspects`."""
        self._queues, self._workers, self._suspects, self._log = queues, workers, suspects, log

    def dispatch(self, now: float) -> list[Instruction]:
        """Return one message of tasks for each worker that gets any."""
        outgoing: dict[bytes, list[Task]] = {}
        for reserved, queue, work in self._suspects.lease(self._queues.values(), now):
            self._lease(reserved, queue, work, outgoing, now)
        refused: list[tuple[StreamQueue, Work]] = []
        while self._workers.free and (choice := self._next()):
            queue, work = choice
            peer = self._workers.lease(work.key, now)
            if peer is None:
                refused.append(choice)
            else:
                self._lease(peer, queue, work, outgoing, now)
        for queue, work in refused:
            queue.push(work)
        return [Send(peer, Tasks.model_construct(tasks=tuple(tasks))) for peer, tasks in outgoing.items()]

    def _lease(
        self, peer: bytes, queue: StreamQueue, work: Work, outgoing: dict[bytes, list[Task]], now: float
    ) -> None:
        outgoing.setdefault(peer, []).append(queue.task(work))
        self._log.add(now, work.key, f"leased to {self._workers[peer].hello.worker}")

    def _next(self) -> tuple[StreamQueue, Work] | None:
        """Take the ready work that comes next, of all streams."""
        if len(self._queues) == 1:
            [queue] = self._queues.values()
        else:
            leads = [(lead, name) for name, queue in self._queues.items() if (lead := queue.lead()) is not None]
            if not leads:
                return None
            queue = self._queues[min(leads)[1]]
        work = queue.pop()
        return (queue, work) if work else None
