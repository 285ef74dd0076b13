"""Notices that a worker's results do not reach the sink, and finds out why in a thread of its own."""

import threading

from penstock.protocol.transport.reachability import why_unreachable


class SinkReachability:
    """Watches the connection to the sink; the worker's loop asks it at every turn."""

    def __init__(self) -> None:
        """Start without a problem."""
        self._inquiry: _Inquiry | None = None
        self._told = False

    def check(self, sink: str, cut_since: float | None, patience_s: float, now: float) -> str | None:
        """Return why no result gets to the sink at this address, empty once they do again, None if nothing is new.

        `cut_since` (monotonic s): since when a result has waited without a connection to the sink; None: none waits.
        """
        if cut_since is None or now - cut_since < patience_s:
            self._inquiry = None
            told, self._told = self._told, False
            return "" if told else None
        if self._inquiry is None or self._inquiry.address != sink:
            self._inquiry = _Inquiry(sink)
            self._inquiry.start()
        if self._told or self._inquiry.is_alive():
            return None
        self._told = True
        return f"no sink takes results at {sink} for {now - cut_since:.0f} s: {self._inquiry.found}"


class _Inquiry(threading.Thread):
    """Finds out what is wrong with an address. Looking up a name may take long and cannot be interrupted."""

    def __init__(self, address: str) -> None:
        super().__init__(name="inquiry", daemon=True)
        self.address, self.found = address, "it cannot be found out why"

    def run(self) -> None:
        """Look the address up and try to connect."""
        self.found = why_unreachable(self.address)
