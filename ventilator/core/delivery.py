"""Watches whether results arrive: finds results to make again, and workers whose results do not arrive at all.

Part of the leases core: no socket, no clock. Theory of operation. A worker says `Finished` when a result has left it,
not when it has arrived. The results of one worker arrive in the order in which they were sent. So a result that the
sink still misses is lost once a later one of the same worker has arrived; until then it may only be slow, and each
result that arrives extends the wait for those behind it. Each repetition of a task is waited for twice as long as the
one before: otherwise, on a line that needs more than `confirm_s` for one result, nothing but repetitions would arrive.

A worker none of whose results arrives takes work away from the others, all the more since its tasks never end: behind a
line that drops large packets, or with a wrong address of the sink. While there are other workers it is benched, for
ever longer, and then tried with one task. The first result that arrives restores it.
"""

import math
from collections.abc import Iterable

from penstock.protocol.instructions import Note
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.work import Work
from penstock.ventilator.core.worker import Worker
from penstock.ventilator.core.workers import Workers

#: How often the time that a result is waited for, and that a worker is benched for, doubles at most.
_DOUBLINGS = 4


class Delivery:
    """Results that workers have sent and the sink still misses."""

    def __init__(self, workers: Workers, confirm_s: float) -> None:
        """Wait for a result for `confirm_s` seconds at first."""
        self._workers, self._confirm_s = workers, confirm_s
        #: For each stream, a time before which no result was sent that it still waits for.
        self._oldest: dict[str, float] = {}

    def sent(self, peer: bytes, work: Work, now: float) -> None:
        """Handle a worker's report that it sent a result which the sink misses."""
        work.sent_by_several |= work.sender not in (b"", peer)
        work.sender, work.sent_at, work.finished_at = peer, now, now
        worker = self._workers[peer]
        if worker.misses:  # on trial: it gets nothing more until this result has arrived or is overdue
            worker.benched_until = max(worker.benched_until, now + self._confirm_s)

    def arrived(self, works: Iterable[Work], now: float) -> list[Note]:
        """Handle work that the sink does not miss any more; if one worker alone sent a result, it is that one's."""
        out = []
        for work in works:
            if work.sent_by_several or not (worker := self._workers.get(work.sender)):
                continue
            worker.arrived_at = now
            worker.arrived_up_to = max(worker.arrived_up_to, work.sent_at)
            if worker.misses:
                worker.misses, worker.benched_until = 0, 0.0
                self._workers.offer(work.sender)
                out.append(Note("results arrive again", {"worker": worker.hello.worker}))
        return out

    def overdue(self, queue: StreamQueue, now: float) -> tuple[list[Work], list[Note]]:
        """Return the work whose result is overdue and must be made again, and notes about workers."""
        works, out = list[Work](), list[Note]()
        name, oldest = queue.plan.name, now
        if now - self._oldest.get(name, -math.inf) <= self._confirm_s:  # nearly always: there is no need to look
            return works, out
        for work in queue.works.values():
            if work.finished_at is None:
                continue
            worker = self._workers.get(work.sender)
            overtaken = worker is None or worker.arrived_up_to > work.finished_at
            since = work.finished_at if worker is None or overtaken else max(work.finished_at, worker.arrived_at)
            if now - since <= self._confirm_s * 2 ** min(work.remade, _DOUBLINGS):
                oldest = min(oldest, work.finished_at)
                continue
            work.remade += 1
            works.append(work)
            if worker and not overtaken and now >= worker.benched_until:
                out.append(self._miss(work.sender, worker, now))
        self._oldest[name] = oldest
        return works, out

    def forgive(self) -> None:
        """Start afresh with all workers: they may reach a new sink even if they did not reach the last one."""
        for peer, worker in self._workers.pairs():
            worker.misses, worker.benched_until, worker.benched = 0, 0.0, False
            self._workers.offer(peer)

    def review(self, now: float) -> None:
        """Bench the workers whose time out has begun, and call back those whose time out is over."""
        trusted = any(not worker.misses and not worker.blocked for worker in self._workers.values())
        for peer, worker in self._workers.pairs():
            benched = trusted and now < worker.benched_until
            if benched != worker.benched:
                worker.benched = benched
                self._workers.offer(peer)

    def _miss(self, peer: bytes, worker: Worker, now: float) -> Note:
        pause_s = self._confirm_s * 2 ** min(worker.misses, _DOUBLINGS)
        worker.misses += 1
        worker.benched_until = now + pause_s
        self._workers.offer(peer)
        words = f"other workers repeat its tasks; after {pause_s:.0f} s it gets one task at a time"
        return Note("results do not arrive", {"worker": worker.hello.worker, "then": words}, "warning")
