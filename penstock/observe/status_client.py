"""Asks a ventilator for the state of the whole stack, over the ventilator's own socket and within a deadline.

For `penstock status`, `penstock quarantine` and monitoring programs.
"""

import time
from types import TracebackType
from typing import Self

from penstock.protocol import wire
from penstock.protocol.errors import DeadlineError, PenstockError, RefusedError
from penstock.protocol.messages import Refused, Snapshot, StatusRequest, TaskKey
from penstock.protocol.runtime.log import library_logger
from penstock.protocol.transport.keys import open_keys
from penstock.protocol.transport.own_sockets import resolve_each, split
from penstock.protocol.transport.sockets import Hub
from penstock.protocol.version import __version__

_FROM_VENTILATOR = wire.kinds(Snapshot, Refused)
#: How often a question without an answer is repeated (s).
_AGAIN_S = 1.0


class Onlooker:
    """A connection to a ventilator; a context manager. It makes no samples and delays none."""

    def __init__(self, address: str, keys: str = "", timeout_s: float = 10.0) -> None:
        """Connect to tcp://host:5555, ipc:///path or local:NAME; `keys` is a key folder with a trainer's key.

        With a ventilator on standby, give both addresses with a comma between them: the one that acts is asked.

        Raises SpecError if the address or the folder is none.
        """
        self.address, self.timeout_s = resolve_each(address), timeout_s
        self._hub = Hub(library_logger("look", ventilator=self.address), open_keys(keys, "trainer"))
        try:
            self._endpoints = [self._hub.dealer(each, _FROM_VENTILATOR, "ventilator") for each in split(self.address)]
        except PenstockError:
            self._hub.close()
            raise

    def __enter__(self) -> Self:
        """Return the client itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def look(self, ledger: int = 20, story: TaskKey | None = None) -> Snapshot:
        """Return the stack's snapshot, with up to `ledger` (at most 1000) of the newest quarantined items.

        With a `story`, also what happened to that task lately; the ventilator asks workers, sink and trainers for it.

        Raises DeadlineError without an answer in time, RefusedError if the ventilator runs another release.
        """
        question = StatusRequest(ledger=ledger, story=story, version=__version__)
        began = time.monotonic()
        asked = float("-inf")
        waits: Snapshot | None = None
        while (now := time.monotonic()) < began + self.timeout_s:
            if now >= asked + _AGAIN_S:
                for endpoint in self._endpoints:
                    endpoint.send(question)
                asked = now
            self._hub.wait(min(_AGAIN_S, began + self.timeout_s - now))
            latest: Snapshot | None = None
            for _, message, _ in (received for endpoint in self._endpoints for received in endpoint.receive()):
                if isinstance(message, Refused):
                    raise RefusedError(message.reason)
                latest = message if isinstance(message, Snapshot) else latest
                if latest and (latest.standby is None or latest.standby.acting or len(self._endpoints) == 1):
                    return latest
            waits = latest or waits
        if waits:
            return waits
        refused = self._hub.rejects.counts["refused"] > 0
        hint = "; a service is there, but refused the connection: give --keys, and see its log" if refused else ""
        hint += "".join(f"; {endpoint.problem}" for endpoint in self._endpoints if endpoint.problem)
        raise DeadlineError(
            f"no answer from {self.address} within {self.timeout_s} s: check that the ventilator runs and that this is "
            f"its address, not the sink's{hint}"
        )

    def close(self) -> None:
        """Close the connection."""
        for endpoint in self._endpoints:
            endpoint.close()
        self._hub.close()
