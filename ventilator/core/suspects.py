"""Work that has cost a worker its life: each piece runs alone on a worker that holds nothing else.

What a worker said last may die with it, so a task that it had finished can look like the one that it ran. Who holds one
thing only leaves no doubt what killed it: an innocent item is suspected once at most, and cleared when it runs alone.
Part of the leases core: no socket, no clock.
"""

from collections.abc import Collection

from penstock.ventilator.core.stream_queue import Lane, Work
from penstock.ventilator.core.workers import Roster, Worker


class Suspects:
    """Leases suspected work, to workers that are reserved for it as long as there is any."""

    def __init__(self, roster: Roster, patience_s: float) -> None:
        """Reserve nobody yet. A worker whose task takes longer than `patience_s` (s) is not waited for."""
        self._roster = roster
        self._patience_s = patience_s

    def lease(self, lanes: Collection[Lane], now: float) -> list[tuple[bytes, Lane, Work]]:
        """Lease what is suspected and ready to reserved workers that are idle; return who got what."""
        waiting = [(lane, work) for lane in lanes for work in lane.suspects()]
        leased: list[tuple[bytes, Lane, Work]] = []
        for lane, work in waiting:
            peer = self._alone(work, now)
            if peer is not None:
                work.ready = False
                self._roster.give(peer, work.key, now)
                leased.append((peer, lane, work))
        if not waiting and self._roster.reserved:
            self._release(lanes)
        return leased

    def _alone(self, work: Work, now: float) -> bytes | None:
        """Return an idle worker; without one, see that one becomes idle, and so up to half of them."""
        holders = self._roster.holders(work.key)
        able = [(peer, worker) for peer, worker in self._roster if worker.able and peer not in holders]
        reserved = [(peer, worker) for peer, worker in able if worker.reserved]
        idle = next((peer for peer, worker in reserved if not worker.held), None)
        if idle is not None:
            return idle
        if sum(self._moves(worker, now) for _, worker in reserved) >= max(1, len(able) // 2):
            return None
        others = [(len(worker.held), peer) for peer, worker in able if not worker.reserved]
        if not others:
            return None
        held, peer = min(others)
        self._roster.reserve(peer)
        return None if held else peer

    def _moves(self, worker: Worker, now: float) -> bool:
        return now - worker.busy_since <= self._patience_s

    def _release(self, lanes: Collection[Lane]) -> None:
        """Let workers that run nothing suspected take any work again."""
        for peer, worker in self._roster:
            if worker.reserved and not any(lane.is_suspect(key) for lane in lanes for key in worker.held):
                self._roster.release(peer)
