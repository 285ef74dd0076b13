"""What a sink tells workers of other hosts, and what a host can find out about an address."""

import socket
from pathlib import Path

import pytest

from penstock.protocol.transport.addresses import host_of, port_of, reachable
from penstock.protocol.transport.reachability import advertised, own_address, why_unreachable


@pytest.mark.parametrize("wildcard", ["0.0.0.0", "*", "[::]", "[::ffff:0.0.0.0]"])  # noqa: S104 - nothing is bound
def test_a_wildcard_is_advertised_as_the_host(wildcard: str) -> None:
    """ZeroMQ reports a bound IPv4 wildcard mapped into IPv6: no spelling of it may reach another host."""
    assert "tcp://box:5556" == reachable(f"tcp://{wildcard}:5556", "box")
    assert "tcp://*:5556" == advertised(f"tcp://{wildcard}:5556", "tcp://127.0.0.1:5555", "box")
    assert "tcp://*:5556" == advertised(f"tcp://{wildcard}:5556", "ipc:///run/v.sock", "box")
    assert "tcp://box:5556" == advertised(f"tcp://{wildcard}:5556", "tcp://nobody.invalid:5555", "box")


def test_an_address_of_one_s_own_is_advertised_as_it_is() -> None:
    """Only wildcards are replaced."""
    assert "tcp://10.0.0.7:5556" == reachable("tcp://10.0.0.7:5556", "box")
    assert "tcp://10.0.0.7:5556" == advertised("tcp://10.0.0.7:5556", "tcp://127.0.0.1:5555", "box")


def test_a_host_knows_its_own_address_towards_another() -> None:
    """Nothing is sent to find out; IPv6 comes in its brackets, as in an address."""
    assert "127.0.0.1" == own_address("tcp://127.0.0.1:5555")
    assert "[::1]" == own_address("tcp://[::1]:5555")


@pytest.mark.parametrize(
    ("address", "host", "port"),
    [
        ("tcp://box:5556", "box", 5556),
        ("tcp://[fd77::1]:5556", "[fd77::1]", 5556),
        ("tcp://10.0.0.7:*", "10.0.0.7", 0),
        ("ipc:///run/v.sock", "127.0.0.1", 0),
    ],
)
def test_addresses_are_taken_apart(address: str, host: str, port: int) -> None:
    """An IPv6 address keeps its brackets; a Unix socket is on this host."""
    assert (host, port) == (host_of(address), port_of(address))


def test_an_address_that_leads_nowhere_is_explained(tmp_path: Path) -> None:
    """An unknown name, a port without a listener, a missing socket; and one with a listener."""
    assert "cannot look 'nobody.invalid' up" in why_unreachable("tcp://nobody.invalid:5556")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound, so that no other process takes it, and deaf
        refused = why_unreachable(f"tcp://127.0.0.1:{closed.getsockname()[1]}")
    assert "refused" in refused
    assert "--advertise" in refused, "loopback is this host itself"
    assert "no such socket" in why_unreachable(f"ipc://{tmp_path}/none")
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert "accepts connections" in why_unreachable(f"tcp://127.0.0.1:{server.getsockname()[1]}")
