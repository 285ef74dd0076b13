"""Connections over TCP: which of them have sent more than a message may have, and are ended."""

import fcntl
import socket
import sys
import termios
from collections.abc import Iterator

import pytest
from support.streams import until

from penstock.protocol.transport.connections import Connections

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts a connection's bytes")

LIMIT = 1000
Pair = tuple[socket.socket, socket.socket]


@pytest.fixture(name="pair")
def fixture_pair() -> Iterator[Pair]:
    """Give a sender and the receiving end of its connection."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        with receiver:
            yield sender, receiver


def come(pair: Pair, count: int) -> None:
    """Send bytes, and wait until the kernel has them at the other end."""
    sender, receiver = pair
    sender.sendall(bytes(count))
    until(
        lambda: count == int.from_bytes(fcntl.ioctl(receiver, termios.FIONREAD, bytes(4)), sys.byteorder),
        "the bytes to come",
    )


def watch(receiver: socket.socket) -> Connections:
    """Return the connections of a socket that has this one."""
    connections = Connections(LIMIT)
    connections.opened(receiver.fileno())
    return connections


def test_bytes_that_the_kernel_holds_are_part_of_no_message_yet(pair: Pair) -> None:
    """A process that computes has not read them, whatever they are; once taken, they count from the second sweep."""
    connections = watch(pair[1])
    come(pair, LIMIT + 500)
    assert [] == [cut for _ in range(5) for cut in connections.sweep(0, drained=True)]
    pair[1].recv(LIMIT + 500)
    assert [] == connections.sweep(0, drained=True)
    [cut] = connections.sweep(0, drained=True)
    assert f"sent {LIMIT + 500} bytes of a message without its end; at most {LIMIT}" in cut
    assert not connections.due(1e9)


def test_a_message_that_is_read_in_time_clears_its_connection(pair: Pair) -> None:
    """The bytes were its own."""
    connections = watch(pair[1])
    for _ in range(3):
        come(pair, LIMIT + 1)
        pair[1].recv(LIMIT + 1)
        assert [] == connections.sweep(0, drained=True)
        connections.heard(pair[1].fileno())
        assert [] == connections.sweep(0, drained=True)


@pytest.mark.parametrize(("factor", "ended"), [(2, False), (9, True)])
def test_a_busy_service_neither_ends_nor_clears_a_connection_in_doubt(factor: int, ended: bool, pair: Pair) -> None:  # noqa: FBT001
    """What may be complete messages is judged when all is read; far too much is ended by busy sweeps, too."""
    connections = watch(pair[1])
    come(pair, factor * LIMIT)
    pair[1].recv(factor * LIMIT)
    assert [] == connections.sweep(0, drained=True)
    assert ended == bool(connections.sweep(0, drained=False))
    assert (not ended) == bool(connections.sweep(0, drained=True))


def test_a_connection_with_too_much_is_looked_at_again_soon(pair: Pair) -> None:
    """What it sends until the second look is memory that the service loses."""
    connections = watch(pair[1])
    before = connections.sweep_s
    come(pair, LIMIT + 1)
    pair[1].recv(LIMIT + 1)
    connections.sweep(0, drained=True)
    assert connections.sweep_s < before / 2
    connections.heard(pair[1].fileno())
    connections.sweep(0, drained=True)
    assert before == connections.sweep_s
