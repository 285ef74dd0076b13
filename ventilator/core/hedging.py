"""Hedging: when a worker holds up the stream, other workers get its tasks too, and it gets nothing new for now.

Part of the leases core: no socket, no clock. Theory of operation. The trainer waits for the lowest missing position.
If every worker that holds it has finished nothing for far longer than is typical (it hangs, is starved or stopped), all
that these workers hold is leased again; the result that comes later is a duplicate. `leases.py` handles workers that
fall silent or die.
"""

from collections.abc import Mapping

from penstock.protocol.event_log import EventLog
from penstock.protocol.instructions import Instruction, Note
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.work import Work
from penstock.ventilator.core.workers import Workers


class Hedging:
    """Finds what holds up a stream, and leases it again."""

    def __init__(self, workers: Workers, least_s: float, factor: float, log: EventLog) -> None:
        """Wait at least `least_s` seconds, and `factor` times as long as a typical task takes."""
        self._workers, self._least_s, self._factor, self._log = workers, least_s, factor, log

    def hedge(self, queue: StreamQueue, queues: Mapping[str, StreamQueue], now: float) -> list[Instruction]:
        """Lease again all that a worker holds whose current task holds up the stream far longer than is typical."""
        patience = max(self._least_s, self._factor * (queue.typical_s or 0.0))
        head = next((work for work in queue.heads() if self._hangs(work, now, patience)), None)
        if head is None:
            return []
        workers, holders = self._workers, self._workers.holders(head.key)
        out: list[Instruction] = []
        for peer in holders:
            worker = workers[peer]
            worker.stalled = True
            self._workers.offer(peer)
            for key in worker.held:
                other = queues[key.stream]
                if (work := other.works.get(key)) and all(
                    workers[holder].stalled for holder in self._workers.holders(key)
                ):
                    other.hedged += not work.ready
                    other.push(work)
                    self._log.add(now, key, f"hedged: {worker.hello.worker} holds up the stream")
            fields = {"worker": worker.hello.worker, "stream": queue.plan.name, "task": head.key.ordinal}
            out.append(Note("hedged", fields | {"age_s": round(now - worker.busy_since, 3)}, "warning"))
        return out

    def _hangs(self, work: Work, now: float, patience: float) -> bool:
        """Return whether all workers that hold a unit of work have finished nothing for longer than that (s)."""
        holders = self._workers.holders(work.key)
        if work.ready or not holders or work.failure:
            return False
        if work.finished_at is not None:  # hedged, made, and on its way: wait for it
            return False
        return all(now - self._workers[peer].busy_since > patience for peer in holders)
