"""Addresses that peers send: what passes the check, a socket can connect to. And a name with several of them."""

from collections.abc import Iterator
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

from penstock.protocol.errors import RemoteProtocolError, SpecError
from penstock.protocol.transport.addresses import check_peer_address, check_sent_address, name_in, reachable

_HOSTS = st.text(st.sampled_from("a9Z.-_:[]%*;@ \0\nü"), max_size=12) | st.sampled_from(
    ["localhost", "[::1]", "[::ffff:127.0.0.1]", "[::1", "10.0.0.1", "*", "a b", "-a", "256.1.1.1", "[fe80::1%lo]"]
)
_PORTS = st.sampled_from(["0", "1", "65535", "65536", "*", "", "-1", "9" * 30, "٣"]) | st.integers(0, 70_000).map(str)


@pytest.fixture(scope="module")
def context() -> Iterator[Any]:
    """Return a ZeroMQ context."""
    made = zmq.Context()
    yield made
    made.destroy(linger=0)


@given(host=_HOSTS, port=_PORTS)
def test_what_passes_the_check_can_be_connected_to(context: Any, host: str, port: str) -> None:
    """ZeroMQ raises for none of them, so that no peer can end a process by an address."""
    address = f"tcp://{host}:{port}"
    try:
        check_peer_address(address)
    except SpecError as error:
        assert repr(address) in str(error)  # noqa: PT017 - either way is right
        return
    with context.socket(zmq.PUSH) as socket:
        socket.connect(reachable(address, "127.0.0.1"))


@pytest.mark.parametrize(
    "address",
    [
        "tcp://127.0.0.1:5",
        "tcp://*:5",
        "tcp://[::1]:5",
        "tcp://[::ffff:127.0.0.1]:5",
        "tcp://gpu_1.lan:5",
        "ipc:///a/b",
    ],
)
def test_addresses_of_use_pass(address: str) -> None:
    """Those that sinks advertise."""
    check_peer_address(address)


def test_a_bad_address_of_a_peer_is_the_peers_error() -> None:
    """It is counted and named; another one passes."""
    check_sent_address("tcp://10.0.0.1:5")
    with pytest.raises(RemoteProtocolError, match=r"tcp://10\.0\.0\.1:0.*no socket can connect to it"):
        check_sent_address("tcp://10.0.0.1:0")


@pytest.mark.parametrize("address", ["ipc:///tmp/a", "tcp://127.0.0.1:5", "tcp://[::1]:5", "tcp://*:5", "tcp://a b:5"])
def test_what_is_no_name_is_not_looked_up(address: str) -> None:
    """It can mean nothing else, or nothing at all."""
    assert not name_in(address)


@pytest.mark.parametrize("name", ["localhost", "train_sink.1.abc", "sink-0.penstock.svc.cluster.local", "1e100.net"])
def test_a_name_is_looked_up(name: str) -> None:
    """As engines give them to containers and pods."""
    assert name == name_in(f"tcp://{name}:5556")
