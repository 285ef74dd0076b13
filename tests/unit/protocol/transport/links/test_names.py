"""Names are looked up in threads: who asks does not wait, and neither do other names."""

import socket
import threading
from collections.abc import Sequence
from queue import SimpleQueue
from typing import Any

import pytest
from support.streams import until

from penstock.protocol.transport.links.names import Answer, Names


class Server:
    """Stands in for the system's look-up: it answers for a name once it may."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Answer for all names but `slow`."""
        self.asked: list[str] = []
        self.may_answer = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: str, port: None, type: int) -> Sequence[Any]:  # noqa: A002 - as getaddrinfo has it
        """Answer as `socket.getaddrinfo` does."""
        self.asked.append(host)
        assert (None, socket.SOCK_STREAM) == (port, type)
        assert "slow" != host or self.may_answer.wait(60)
        return [(socket.AF_INET, type, 6, "", ("10.0.0.5", 0)), (socket.AF_INET6, type, 6, "", ("fd00::7", 0, 0, 0))]


FOUND = Answer(("10.0.0.5", "[fd00::7]"))


def test_who_asks_meanwhile_gets_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One question for two who ask, and another one afterwards; IPv6 comes in brackets."""
    server, names, told = Server(monkeypatch), Names(), SimpleQueue[Answer]()
    names.look_up("slow", told.put)
    until(lambda: server.asked, "the question")
    names.look_up("slow", told.put)
    assert told.empty()
    server.may_answer.set()
    assert [FOUND, FOUND] == [told.get(timeout=60), told.get(timeout=60)]
    assert ["slow"] == server.asked
    names.look_up("slow", told.put)
    assert FOUND == told.get(timeout=60)
    assert ["slow", "slow"] == server.asked


def test_a_name_does_not_wait_for_another_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many are waited for."""
    server, names, told = Server(monkeypatch), Names(), SimpleQueue[Answer]()
    names.look_up("slow", lambda _: None)
    names.look_up("quick", told.put)
    assert FOUND == told.get(timeout=60)
    assert not server.may_answer.is_set()
    server.may_answer.set()


@pytest.mark.parametrize("name", ["nobody.invalid", "a..b", f"{'a' * 64}.b"])
def test_a_name_that_leads_nowhere_is_explained(name: str) -> None:
    """Also one that cannot be asked for at all: a label of it is empty, or too long."""
    told = SimpleQueue[Answer]()
    Names().look_up(name, told.put)
    answer = told.get(timeout=60)
    assert () == answer.hosts
    assert f"cannot look {name!r} up" in answer.problem


def test_this_host_s_own_name_is_found() -> None:
    """By the system itself."""
    told = SimpleQueue[Answer]()
    Names().look_up("localhost", told.put)
    assert {"127.0.0.1", "[::1]"} & set(told.get(timeout=60).hosts)


def test_a_thread_too_many_is_a_look_up_that_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for one more thread, the name is not found this time, and can be asked for again."""
    names, told = Names(), SimpleQueue[Answer]()
    with monkeypatch.context() as full:

        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        full.setattr(threading.Thread, "start", refuse)
        names.look_up("localhost", told.put)
    assert "can't start new thread" in told.get(timeout=0).problem
    names.look_up("localhost", told.put)
    assert told.get(timeout=60).hosts
