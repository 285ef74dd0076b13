"""A host whose name has two addresses; at the first one nothing answers, as in a swarm that lost a node."""

import itertools
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

import pytest
import structlog
from support.streams import until

from penstock.protocol import wire
from penstock.protocol.messages import Heartbeat
from penstock.protocol.transport.sockets import Endpoint, Hub

#: ZeroMQ, which asks the system itself, finds no address of it.
NAME = "several.invalid"
BEAT = Heartbeat()


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return a hub on a host that knows two addresses of the name."""
    asked = socket.getaddrinfo

    def look_up(host: str, port: int, **options: Any) -> Sequence[Any]:
        hosts = ("127.0.0.9", "127.0.0.1") if NAME == host else (host,)
        return list(itertools.chain.from_iterable(asked(each, port, **options) for each in hosts))

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    made = Hub(structlog.get_logger())
    yield made
    made.close()


@pytest.fixture
def server(hub: Hub) -> Endpoint:
    """Return a server at the second address only."""
    return hub.router("tcp://127.0.0.1:*", {"worker": wire.kinds(Heartbeat), "sink": wire.kinds(Heartbeat)})


def port_of(server: Endpoint) -> str:
    """Return the server's port."""
    return server.address.rpartition(":")[2]


def test_a_silent_server_is_looked_for_at_the_next_address(hub: Hub, server: Endpoint) -> None:
    """Once it was heard, a link that is opened anew stays where it is: it is not the link that failed."""
    client = hub.dealer(f"tcp://{NAME}:{port_of(server)}", wire.kinds(Heartbeat), "ventilator")

    def asks() -> bool:
        client.reopen()
        client.send(BEAT)
        hub.wait(0.2)
        for peer, _, _ in server.receive():  # a link that was closed meanwhile may have brought it
            server.send(BEAT, peer=peer)
        hub.wait(0.2)
        return any(True for _ in client.receive())

    until(asks, "an answer from the second address")
    for _ in range(3):
        client.reopen()
        assert f"tcp://127.0.0.1:{port_of(server)}" == client.address


def test_a_pusher_without_a_link_tries_the_next_address(hub: Hub) -> None:
    """With one address it keeps the link that it has: ZeroMQ tries again by itself."""
    server = hub.pull("tcp://127.0.0.1:*", {"worker": wire.kinds(Heartbeat)})
    with (
        closing(hub.pusher(f"tcp://{NAME}:{port_of(server)}", "sink")) as pusher,
        closing(hub.pusher(f"tcp://127.0.0.1:{port_of(server)}", "sink")) as only,
    ):

        def pushes() -> bool:
            pusher.try_next()
            return pusher.push(BEAT, (), 0.2)

        until(pushes, "the second address")
        assert f"tcp://127.0.0.1:{port_of(server)}" == pusher.address
        until(lambda: only.push(BEAT, (), 0.2) and only.linked, "a link")
        only.try_next()
        assert only.linked
        until(lambda: hub.wait(0.2) and any(True for _ in server.receive()), "what was pushed")
