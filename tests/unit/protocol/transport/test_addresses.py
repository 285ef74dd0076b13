"""Addresses that peers send: what passes the check, a socket can connect to. And a name with several of them."""

import socket
import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st
from support.streams import until

from penstock.protocol.errors import SpecError
from penstock.protocol.transport.addresses import Alternatives, check_peer_address, reachable

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


class Names:
    """A name server that answers when it may, with what it knows."""

    def __init__(self, *hosts: str) -> None:
        """Know the addresses of one name."""
        self.hosts, self.may_answer, self.asked = hosts, threading.Event(), 0

    def __call__(self, host: str, port: int, type: int) -> Sequence[Any]:  # noqa: A002 - as getaddrinfo has it
        """Answer as `socket.getaddrinfo` does."""
        self.asked += 1
        assert ("ventilator", socket.SOCK_STREAM) == (host, type)
        assert self.may_answer.wait(60)
        if not self.hosts:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, type, 6, "", (each, port)) for each in self.hosts]


def tries(monkeypatch: pytest.MonkeyPatch, names: Names) -> Alternatives:
    """Return the tries of a host that looks names up there."""
    monkeypatch.setattr(socket, "getaddrinfo", names)
    return Alternatives()


def test_addresses_of_a_name_are_tried_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name stands for the first one, which did not help; while nobody answers, the name itself is tried."""
    names = Names("10.0.0.5", "10.0.0.12", "fd00::7")
    mine = tries(monkeypatch, names)
    assert ["tcp://ventilator:5555"] * 3 == [mine.next("tcp://ventilator:5555") for _ in range(3)]
    until(lambda: 1 == names.asked, "the question, and no second one beside it")
    names.may_answer.set()
    until(lambda: "tcp://10.0.0.12:5555" == mine.next("tcp://ventilator:5555"), "the second address")
    later = [mine.next("tcp://ventilator:5555") for _ in range(3)]
    assert ["tcp://[fd00::7]:5555", "tcp://10.0.0.5:5555", "tcp://10.0.0.12:5555"] == later
    assert mine.next("tcp://ventilator:6666").endswith(":6666"), "what was found belongs to another address"


@pytest.mark.parametrize("hosts", [(), ("10.0.0.5",)])
def test_a_name_without_a_second_address_stays_a_name(hosts: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """ZeroMQ looks it up whenever it connects, so that it finds out when it changes."""
    names = Names(*hosts)
    names.may_answer.set()
    mine = tries(monkeypatch, names)
    until(lambda: ("tcp://ventilator:1" == mine.next("tcp://ventilator:1")) and names.asked >= 3, "three questions")


@pytest.mark.parametrize("address", ["ipc:///tmp/a", "tcp://127.0.0.1:5", "tcp://[::1]:5"])
def test_what_is_no_name_is_not_looked_up(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It can mean nothing else."""
    names = Names("10.0.0.5", "10.0.0.6")
    assert address == tries(monkeypatch, names).next(address)
    assert 0 == names.asked
