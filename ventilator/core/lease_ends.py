"""How leases end: with a result, with the worker, or because the worker does not know of them or cannot deliver.

Part of the leases core: no socket, no clock. `poison.py` charges what a lost worker ran; `delivery.py` watches whether
results arrive.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from penstock.protocol.event_log import EventLog
from penstock.protocol.instructions import Instruction, Note, Send
from penstock.protocol.messages import Done, Reset, TaskKey
from penstock.ventilator.core.delivery import Delivery
from penstock.ventilator.core.item_deaths import Loss
from penstock.ventilator.core.poison import Poison
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.workers import Workers


class LeaseEnds:
    """Ends leases, and requeues the work that no worker holds any more."""

    def __init__(
        self, queues: Mapping[str, StreamQueue], workers: Workers, delivery: Delivery, poison: Poison, log: EventLog
    ) -> None:
        """Work on the leases of these `workers` and the work of these `queues`."""
        self._queues, self._workers, self._delivery, self._poison, self._log = queues, workers, delivery, poison, log
        #: Workers that left or were lost, by event.
        self.lost: Counter[str] = Counter()

    def finish(self, peer: bytes, done: Iterable[Done], now: float) -> None:
        """Handle a worker's report that it sent results."""
        told = f"{self._workers[peer].hello.worker} sent its result"
        for each in done:
            key = each.key
            leased_at = self._workers.end(peer, key, now)
            if leased_at is None or not (queue := self._queues.get(key.stream)):
                continue
            self._log.add(now, key, told)
            queue.took(each.timings, now - leased_at)
            work = queue.works.get(key)
            if work is None:  # the sink had its result first, or no reader wants it any more
                continue
            if leased_at < work.since:  # it came, and was dropped before it was wanted again
                self._again(key, now, "its result had arrived and was dropped before")
            else:
                self._delivery.sent(peer, work, now)
                work.ready = False

    def reconcile(self, peer: bytes, known: Collection[TaskKey], after_s: float, now: float) -> list[Instruction]:
        """End leases that are older than `after_s` seconds and unknown to the worker.

        Either the message with the task was lost, or the worker's report that it finished.
        """
        worker, known = self._workers[peer], set(known)
        worker.acknowledged = known
        lost = [key for key, since in worker.held.items() if key not in known and now - since > after_s]
        for key in lost:
            self._workers.end(peer, key, now)
            self._again(key, now, f"{worker.hello.worker} does not have it")
        if not lost:
            return []
        fields = {"worker": worker.hello.worker, "tasks": [key.to_dict() for key in lost]}
        return [Note("leases lost", fields, "warning")]

    def block(self, peer: bytes, why: str, now: float) -> list[Instruction]:
        """Handle whether a worker's results reach the sink: while they do not, other workers get what it holds."""
        worker = self._workers[peer]
        if bool(why) == bool(worker.blocked):
            return []
        worker.blocked = why
        self._workers.offer(peer)
        if not why:
            return [Note("worker reaches the sink again", {"worker": worker.hello.worker})]
        for key in list(worker.held):
            self._workers.end(peer, key, now)
            self._again(key, now, f"{worker.hello.worker} cannot reach the sink")
        return [Note("worker cannot reach the sink", {"worker": worker.hello.worker, "why": why}, "error")]

    def remove(
        self,
        peer: bytes,
        event: str,
        running: TaskKey | None,
        sink: bytes | None,
        now: float,
        *,
        closed: bool = False,
    ) -> list[Instruction]:
        """Forget a worker and requeue its leases; `running` is charged with its loss.

        `closed`: its connection was closed before it fell silent.
        """
        worker = self._workers.remove(peer, now)
        self.lost[event] += 1
        name = worker.hello.worker
        fields = {"worker": name, "leases": len(worker.held), "task": running and running.to_dict()}
        out: list[Instruction] = [Note(event, fields, "warning" if running else "info")]
        for key in worker.held:
            work = self._queues[key.stream].works.get(key)
            if key != running or work is None or work.failure:
                self._again(key, now, f"{event} ({name})")
                continue
            self._log.add(now, key, f"{event} ({name}), which ran this")
            loss = Loss(name, worker.held[key], acknowledged=key in worker.acknowledged, closed=closed)
            out += self._poison.charge(work, worker, loss, sink, now)
            for other in self._poison.endangered():
                out += self._empty(other, now)
        return out

    def _empty(self, peer: bytes, now: float) -> list[Instruction]:
        """Requeue what a worker holds and let it say hello again, for which it empties its queue.

        There is no message that takes a single task back. What it runs already, it finishes.
        """
        worker = self._workers.remove(peer, now)
        for key in worker.held:
            self._again(key, now, f"{worker.hello.worker} empties its queue, which holds a suspect")
        return [Send(peer, Reset()), Note("queue emptied", {"worker": worker.hello.worker})]

    def requeue_unconfirmed(self, queue: StreamQueue, now: float) -> list[Note]:
        """Requeue work whose result has not arrived in time."""
        works, notes = self._delivery.overdue(queue, now)
        for work in works:
            work.finished_at = None
            self._again(work.key, now, "its result has not arrived in time")
        return notes

    def _again(self, key: TaskKey, now: float, why: str) -> None:
        queue = self._queues[key.stream]
        work = queue.works.get(key)
        if work and not self._workers.is_held(key):
            queue.repeated += not work.ready
            queue.push(work)
            self._log.add(now, key, f"ready again: {why}")
