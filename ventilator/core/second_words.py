"""Decides who runs an item whose failure another worker has to confirm.

Part of the leases core: no socket, no clock. The sink says which failures those are (`StreamNeed.doubted`).
"""

from collections.abc import Collection
from itertools import chain

from penstock.ventilator.core.work import Work
from penstock.ventilator.core.workers import Workers


class SecondWords:
    """Decides who may run an item whose failure another worker has to confirm."""

    def __init__(self, workers: Workers, patience_s: float) -> None:
        """Wait for another worker than those that reported the failure for up to `patience_s` seconds."""
        self._workers, self._patience_s = workers, patience_s

    def avoided(self, work: Work, now: float) -> Collection[int]:
        """Return the numbers of the workers that do not get this work now.

        They get it if there is no other worker that could take it, nor was one lately: one that was lost may come back.
        """
        if not work.doubted_by or now - work.doubted_since >= self._patience_s:
            return ()
        here = (
            worker.number
            for worker in self._workers.values()
            if worker.able or now - worker.busy_since < self._patience_s
        )
        lately = (number for number, left_at in self._workers.left if now - left_at < self._patience_s)
        others = any(number not in work.doubted_by for number in chain(here, lately))
        return work.doubted_by if others else ()
