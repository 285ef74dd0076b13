"""Runs work that has cost a worker its life alone: one unit at a time, on a worker that holds nothing else.

Part of the leases core: no socket, no clock. A worker's last report may be lost with it, so a task that it had finished
can look like the one that it ran. A worker that holds a single unit leaves no doubt about what killed it: an innocent
item is suspected at most once, and cleared when it runs alone.
"""

from collections.abc import Collection, Sequence

from penstock.ventilator.core.second_words import SecondWords
from penstock.ventilator.core.stream_queue import StreamQueue
from penstock.ventilator.core.work import Work
from penstock.ventilator.core.worker import Worker
from penstock.ventilator.core.workers import Workers


class Suspects:
    """Leases suspected work, to workers that are reserved for it as long as there is any."""

    def __init__(self, workers: Workers, second_words: SecondWords, patience_s: float) -> None:
        """Start without reserved workers. A worker whose task takes longer than `patience_s` (s) is not waited for."""
        self._workers, self._second_words = workers, second_words
        self._patience_s = patience_s

    def lease(self, queues: Collection[StreamQueue], now: float) -> list[tuple[bytes, StreamQueue, Work]]:
        """Lease suspected work to idle reserved workers; return each lease."""
        if not self._workers.reserved and not any(queue.has_suspects for queue in queues):
            return []
        moving = (worker for worker in self._workers.values() if self._moves(worker, now))
        running = [key for worker in moving for key in worker.held] if any(queue.deaths for queue in queues) else []
        waiting = [(queue, work) for queue in queues for work in queue.suspects(running)]
        leased: list[tuple[bytes, StreamQueue, Work]] = []
        able = [(peer, worker) for peer, worker in self._workers.pairs() if worker.able] if waiting else []
        more = True
        for queue, work in waiting:
            holders, avoided = self._workers.holders(work.key), self._second_words.avoided(work, now)
            if holders or avoided:
                others = [each for each in able if each[0] not in holders and each[1].number not in avoided]
                peer, _ = self._alone(others, now)
            elif more:
                peer, more = self._alone(able, now)
            else:
                continue
            if peer is not None:
                work.ready = False
                self._workers.give(peer, work.key, now)
                leased.append((peer, queue, work))
        if not waiting and self._workers.reserved:
            self._release(queues)
        return leased

    def _alone(self, able: Sequence[tuple[bytes, Worker]], now: float) -> tuple[bytes | None, bool]:
        """Return an idle worker of these; without one, see that one becomes idle, and so up to half of them.

        Also return whether another call, for further work, may do either: most turns find as many reserved as may be.
        """
        reserved = [(peer, worker) for peer, worker in able if worker.reserved]
        idle = next((peer for peer, worker in reserved if not worker.held), None)
        if idle is not None:
            return idle, True
        if sum(self._moves(worker, now) for _, worker in reserved) >= max(1, len(able) // 2):
            return None, False
        others = [(len(worker.held), peer) for peer, worker in able if not worker.reserved]
        if not others:
            return None, False
        held, peer = min(others)
        self._workers.reserve(peer)
        return None if held else peer, True

    def _moves(self, worker: Worker, now: float) -> bool:
        return now - worker.busy_since <= self._patience_s

    def _release(self, queues: Collection[StreamQueue]) -> None:
        """Let workers that run nothing suspected take any work again."""
        for peer, worker in self._workers.pairs():
            if worker.reserved and not any(
                key.stream == queue.plan.name and queue.deaths.is_suspect(key)
                for queue in queues
                for key in worker.held
            ):
                self._workers.release(peer)
