"""The receive loop of every service: each message that is here goes to the core, a bad one is counted and dropped."""

from collections.abc import Callable, Sequence

from penstock.protocol.errors import RemoteProtocolError
from penstock.protocol.messages import AnyMessage
from penstock.protocol.transport.rejects import Rejects
from penstock.protocol.transport.sockets import DRAIN, Endpoint
from penstock.protocol.wire import Array

#: Peer (empty on a connected endpoint), message and its arrays.
Handler = Callable[[bytes, AnyMessage, Sequence[Array]], None]


def receive_all(endpoint: Endpoint, rejects: Rejects, handle: Handler, limit: int = DRAIN) -> None:
    """Hand every message that is here to `handle`, up to `limit`, without waiting.

    A message that `handle` refuses by RemoteProtocolError never stops the service: it is counted, logged and dropped.
    """
    for peer, message, arrays in endpoint.receive(limit):
        try:
            handle(peer, message, arrays)
        except RemoteProtocolError as error:
            rejects.add(error, f"{peer.hex()[:8]} at {endpoint!r}".strip())
