"""Notices that a worker's results do not reach a sink, and finds out why in a thread of its own."""

import threading

from penstock.protocol.transport.reachability import why_unreachable
from penstock.worker.sink_links import Cut


class SinkReachability:
    """Watches the connections to the sinks; the worker's loop asks it at every turn."""

    def __init__(self) -> None:
        """Start without a problem."""
        self._inquiry: _Inquiry | None = None
        self._told = False

    def check(self, cut: Cut | None, patience_s: float, now: float) -> str | None:
        """Return why no result gets to a sink, empty once they do again, None if nothing is new.

        `cut`: the sink that a result waits for without a connection; None: none waits.
        """
        if cut is None or now - cut.since < patience_s:
            self._inquiry = None
            told, self._told = self._told, False
            return "" if told else None
        sink = cut.sink
        if self._inquiry is None or self._inquiry.address != sink.results:
            self._inquiry = _Inquiry(sink.results)
            self._inquiry.start()
        if self._told or self._inquiry.is_alive():
            return None
        self._told = True
        taker = f"sink {sink.name!r} takes no" if sink.name else "no sink takes"
        return f"{taker} results at {sink.results} for {now - cut.since:.0f} s: {self._inquiry.found}"


class _Inquiry(threading.Thread):
    """Finds out what is wrong with an address. Looking up a name may take long and cannot be interrupted."""

    def __init__(self, address: str) -> None:
        super().__init__(name="inquiry", daemon=True)
        self.address, self.found = address, "it cannot be found out why"

    def run(self) -> None:
        """Look the address up and try to connect."""
        self.found = why_unreachable(self.address)
