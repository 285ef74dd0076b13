"""A service's links to its ventilator and to those on standby, as one; `following.py` says which counts."""

from collections.abc import Callable, Sequence

from penstock.protocol.messages import AnyMessage, Hello, SinkHello
from penstock.protocol.runtime.following import Following
from penstock.protocol.transport.own_sockets import split
from penstock.protocol.transport.receiving import receive_all
from penstock.protocol.transport.rejects import Rejects
from penstock.protocol.transport.sockets import Hub
from penstock.protocol.wire import Kinds


class VentilatorLinks:
    """A DEALER for each address of a ventilator."""

    def __init__(self, hub: Hub, addresses: str, accept: Kinds) -> None:
        """Connect to one address, or to several with commas between them."""
        given = split(addresses)
        # What waits for a ventilator that is down is only greetings, one a heartbeat.
        self._endpoints = [hub.dealer(each, accept, "ventilator", queues=len(given) == 1) for each in given]
        self._following = Following(len(given))

    @property
    def address(self) -> str:
        """The address of the ventilator that is followed, or the first one's."""
        return self._endpoints[self._following.followed or 0].given

    @property
    def waiting(self) -> str:
        """What to say while none answers: its address, and why its name leads nowhere."""
        problem = self._endpoints[self._following.followed or 0].problem
        return f"waiting for the ventilator at {','.join(each.given for each in self._endpoints)}" + (
            f": {problem}" if problem else ""
        )

    def receive(self, rejects: Rejects, handle: Callable[[AnyMessage], None]) -> None:
        """Hand every message of the followed ventilator that is here to `handle`, without waiting."""
        for link in range(len(self._endpoints)):
            self._receive(link, rejects, handle)

    def _receive(self, link: int, rejects: Rejects, handle: Callable[[AnyMessage], None]) -> None:
        def take(_: bytes, message: AnyMessage, __: Sequence[object]) -> None:
            if self._following.takes(link, message):
                handle(message)

        receive_all(self._endpoints[link], rejects, take)

    def send(self, message: AnyMessage) -> None:
        """Send to the followed ventilator; a greeting to all if none is followed."""
        for link in self._following.targets(message):
            self._endpoints[link].send(message)

    def greet(self, hello: Hello | SinkHello, now: float, every_s: float) -> float:
        """Greet the other ventilators if it is time to; return when to call this again."""
        for link in self._following.greet(now, every_s):
            self._endpoints[link].send(hello)
        return self._following.next_timer(now, every_s)

    def reopen(self) -> None:
        """Drop what is queued and connect again, under fresh identities; follow none until one answers."""
        self._following.leave()
        for endpoint in self._endpoints:
            endpoint.reopen()

    def close(self, linger_s: float = 0.0) -> None:
        """Close all."""
        for endpoint in self._endpoints:
            endpoint.close(linger_s)
