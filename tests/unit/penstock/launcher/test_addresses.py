"""Ports that are drawn for services, and held until they listen."""

import socket

import pytest
import zmq
from support.streams import until

from penstock.launcher.addresses import HeldPorts
from penstock.protocol.errors import StackError


def listens(service: zmq.Socket[bytes], port: int) -> bool:
    """Return whether a service could bind its port."""
    try:
        service.bind(f"tcp://*:{port}")
    except zmq.ZMQError:
        return False
    return True


def test_a_held_port_is_drawn_once_and_a_service_can_listen_there() -> None:
    """Another draw does not find it before the service listens, nor while it does, nor between two starts of it."""
    with HeldPorts(1, range(20000, 32000)) as held, zmq.Context() as context:
        [port] = held.numbers
        for _ in range(2):
            with pytest.raises(StackError, match=f"no 1 ports from {port} to {port} are free on this host, so there"):
                HeldPorts(1, [port], ", so there")
            with context.socket(zmq.ROUTER) as service, context.socket(zmq.DEALER) as peer:
                until(lambda: listens(service, port), "the service before to have left")
                with pytest.raises(StackError):
                    HeldPorts(1, [port])
                peer.connect(f"tcp://127.0.0.1:{port}")
                peer.send(b"here")
                assert service.poll(60_000)
                assert b"here" == service.recv_multipart()[-1]
    with HeldPorts(0, [port]) as none:
        assert [] == none.numbers


def test_too_few_free_ports_are_given_back() -> None:
    """A draw that fails holds none of those that it had found."""
    with socket.create_server(("", 0)) as taken, HeldPorts(1, range(20000, 32000)) as held:
        [other] = held.numbers
        held.close()
        with pytest.raises(StackError, match="no 2 ports"):
            HeldPorts(2, [other, taken.getsockname()[1]])
        with HeldPorts(1, [other]) as again:
            assert [other] == again.numbers
