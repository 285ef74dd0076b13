"""What the tests of real processes share."""

import socket

import pytest


@pytest.fixture
def free_ports() -> list[int]:
    """Return three TCP ports that nobody uses right now."""
    sockets = [socket.socket() for _ in range(3)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
