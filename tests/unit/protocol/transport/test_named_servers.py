"""Servers that are known by name: one with several addresses, one that moves, and names that nobody answers for."""

import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import structlog
from support.streams import until

from penstock.protocol import wire
from penstock.protocol.errors import SpecError
from penstock.protocol.messages import Heartbeat
from penstock.protocol.transport.keys import Role
from penstock.protocol.transport.sockets import Endpoint, Hub

NAME, OTHER = "server.invalid", "other.invalid"
BEAT = Heartbeat()
ALL: dict[Role, wire.Kinds] = {"worker": wire.kinds(Heartbeat), "sink": wire.kinds(Heartbeat)}


class System:
    """The system's look-up, with names of the test's own; others are the system's."""

    def __init__(self) -> None:
        """Know none."""
        self._looks_up = socket.getaddrinfo
        self.hosts: dict[str, tuple[str, ...]] = {}
        self.asked: list[str] = []
        #: Cleared: there is no answer for `OTHER`.
        self.answers = threading.Event()
        self.answers.set()

    def __call__(self, host: str, port: Any, **options: Any) -> Sequence[Any]:
        """Answer as `socket.getaddrinfo` does."""
        self.asked.append(host)
        assert host != OTHER or self.answers.wait(60)
        hosts = self.hosts.get(host, (host,))
        return [found for each in hosts for found in self._looks_up(each, port, **options)]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    """Return this host's look-up. Whatever still waits for an answer gets it in the end."""
    made = System()
    monkeypatch.setattr(socket, "getaddrinfo", made)
    yield made
    made.answers.set()


@pytest.fixture
def hub(system: System) -> Iterator[Hub]:
    """Return the hub of the clients and servers."""
    del system
    made = Hub(structlog.get_logger())
    yield made
    made.close()


def router(hub: Hub, host: str = "127.0.0.1", port: str = "*") -> Endpoint:
    """Return a server at one address only."""
    return hub.router(f"tcp://{host}:{port}", ALL)


def bound(hub: Hub, port: str) -> Endpoint | None:
    """Return a server at a port, once ZeroMQ has closed the last one in its own thread."""
    with suppress(SpecError):
        return router(hub, port=port)
    return None


def client(hub: Hub, name: str, port: str, *, queues: bool = True) -> Endpoint:
    """Return a client of the server with a name."""
    return hub.dealer(f"tcp://{name}:{port}", wire.kinds(Heartbeat), "ventilator", queues=queues)


def port_of(server: Endpoint) -> str:
    """Return the server's port."""
    return server.address.rpartition(":")[2]


def hears(hub: Hub, server: Endpoint, wanted: int = 1) -> None:
    """Wait until so many messages have come."""
    came = 0

    def more() -> bool:
        nonlocal came
        hub.wait(0.05)
        came += sum(1 for _ in server.receive())
        return came >= wanted

    until(more, "messages")
    assert wanted == came


def answers(hub: Hub, server: Endpoint, asking: Endpoint) -> bool:
    """Ask once; return whether there is an answer soon."""
    asking.send(BEAT)
    hub.wait(0.2)
    for peer, _, _ in server.receive():  # a link that was closed meanwhile may have brought it
        server.send(BEAT, peer=peer)
    hub.wait(0.2)
    return any(True for _ in asking.receive())


def test_a_silent_server_is_looked_for_at_the_next_address(hub: Hub, system: System) -> None:
    """Once it was heard, a link that is opened anew stays where it is: it is not the link that failed."""
    server = router(hub)
    system.hosts[NAME] = ("127.0.0.9", "127.0.0.1")
    with socket.create_server(("127.0.0.9", int(port_of(server)))):  # it accepts, and never says a word
        asking = client(hub, NAME, port_of(server))

        def asks() -> bool:
            asking.reopen()
            return answers(hub, server, asking)

        until(asks, "an answer from the second address")
        for _ in range(3):
            asking.reopen()
            assert f"tcp://127.0.0.1:{port_of(server)}" == asking.address


def test_an_address_where_nothing_listens_is_left_for_the_next_one(hub: Hub, system: System) -> None:
    """By itself, and what was sent meanwhile arrives there."""
    server = router(hub)
    system.hosts[NAME] = ("127.0.0.9", "127.0.0.10", "127.0.0.1")
    asking = client(hub, NAME, port_of(server))
    for _ in range(3):
        assert asking.send(BEAT)
    hears(hub, server, 3)


def test_a_pusher_without_a_link_tries_the_next_address(hub: Hub, system: System) -> None:
    """With one address it keeps the link that it has: ZeroMQ tries again by itself."""
    server = hub.pull("tcp://127.0.0.1:*", {"worker": wire.kinds(Heartbeat)})
    system.hosts[NAME] = ("127.0.0.9", "127.0.0.1")
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
        hears(hub, server, 2)


def test_a_name_without_an_answer_holds_up_no_other_link(hub: Hub, system: System) -> None:
    """Of a client and of a pusher; what a client sent meanwhile waits for the answer, and is not doubled by it."""
    server, results = router(hub), hub.pull("tcp://127.0.0.1:*", {"worker": wire.kinds(Heartbeat)})
    system.hosts = {NAME: ("127.0.0.1",), OTHER: ("127.0.0.1",)}
    system.answers.clear()
    late = client(hub, OTHER, port_of(server))
    assert late.send(BEAT)
    assert late.send(BEAT)
    with (
        closing(hub.pusher(f"tcp://{OTHER}:{port_of(results)}", "sink")) as late_pusher,
        closing(hub.pusher(f"tcp://{NAME}:{port_of(results)}", "sink")) as pusher,
    ):
        assert f"not answered yet for {OTHER!r}" in late.problem
        assert not late_pusher.push(BEAT, (), 0.05)
        until(lambda: pusher.push(BEAT, (), 0.2), "a link")
        hears(hub, results)
        asking = client(hub, NAME, port_of(server))
        assert asking.send(BEAT)
        hears(hub, server)
        late.reopen()
        assert late.send(BEAT), "what was sent before is dropped"
        system.answers.set()
        assert late_pusher.push(BEAT, (), 30.0), "it waits for the answer"
        hears(hub, results)
    hears(hub, server)


def test_what_does_not_queue_is_dropped_without_a_link(hub: Hub, system: System) -> None:
    """As for an address that is no name."""
    server = router(hub)
    system.hosts[OTHER] = ("127.0.0.1",)
    system.answers.clear()
    asking = client(hub, OTHER, port_of(server), queues=False)
    assert not asking.send(BEAT)
    system.answers.set()
    until(lambda: [hub.wait(0.05)] and asking.send(BEAT), "a link")
    hears(hub, server)


def test_a_link_that_lives_needs_no_name_server(hub: Hub, system: System) -> None:
    """It is not even asked, nor waited for where a link is opened anew, or breaks and is made again."""
    server = router(hub)
    system.hosts[OTHER] = ("127.0.0.1",)
    asking = client(hub, OTHER, port_of(server))
    until(lambda: answers(hub, server, asking), "an answer")
    asked = len(system.asked)
    for _ in range(5):
        until(lambda: answers(hub, server, asking), "another answer")
    assert asked == len(system.asked)
    system.answers.clear()
    asking.reopen()
    until(
        lambda: answers(hub, server, asking) and asked < len(system.asked), "an answer on another link, and a question"
    )
    port = port_of(server)
    server.close()
    successor = until(lambda: bound(hub, port), "the port to be free again")
    assert successor
    until(lambda: answers(hub, successor, asking), "an answer of the server's successor")


def test_a_server_that_moves_is_found_under_its_name(hub: Hub, system: System) -> None:
    """Also while nothing is known of it, and what was sent then is not lost."""
    server = router(hub)
    port = port_of(server)
    asking = client(hub, NAME, port)
    until(lambda: [hub.wait(0.05)] and "cannot" in asking.problem, "the name to be unknown")
    assert f"cannot look {NAME!r} up" in asking.problem
    assert asking.send(BEAT)
    system.hosts[NAME] = ("127.0.0.1",)
    hears(hub, server)
    assert not asking.problem
    server.close()
    system.hosts[NAME] = ("127.0.0.9",)
    moved = router(hub, "127.0.0.9", port)
    until(lambda: not hub.wait(0.05) and not asking.linked, "the link to break")
    assert asking.send(BEAT)
    hears(hub, moved)


def test_a_sink_that_moves_is_found_under_its_name(hub: Hub, system: System) -> None:
    """By a pusher, whose owner waits in no hub."""
    system.hosts[NAME] = ("127.0.0.1",)
    results = hub.pull("tcp://127.0.0.1:*", ALL)
    port = port_of(results)
    with closing(hub.pusher(f"tcp://{NAME}:{port}", "sink")) as pusher:
        assert pusher.push(BEAT, (), 30.0)
        hears(hub, results)
        results.close()
        system.hosts[NAME] = ("127.0.0.9",)
        moved = hub.pull(f"tcp://127.0.0.9:{port}", ALL)
        until(lambda: not pusher.push(BEAT, (), 0.1), "the link to break")
        until(lambda: pusher.push(BEAT, (), 0.1), "a link to the new address")
        hears(hub, moved)


def test_this_host_is_known_by_its_own_name(hub: Hub) -> None:
    """The system says which addresses that has; the server listens at one of them."""
    server = router(hub)
    assert client(hub, "localhost", port_of(server)).send(BEAT)
    hears(hub, server)


def test_a_name_may_stand_for_an_address_of_ipv6(hub: Hub, system: System) -> None:
    """Though another one comes first, where nothing listens."""
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("NOT TESTED WITH IPV6: this host has none")
    server = router(hub, "[::1]")
    system.hosts[NAME] = ("127.0.0.9", "::1")
    asking = client(hub, NAME, port_of(server))
    assert asking.send(BEAT)
    hears(hub, server)
    assert f"tcp://[::1]:{port_of(server)}" == asking.address
