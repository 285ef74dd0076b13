"""/healthz under attack and from other hosts: a probe is always answered, and learns no more than it needs."""

import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
from support.streams import DEADLINE_S, until

from penstock.protocol.runtime.health import Health, fetch

STATUS: dict[str, Any] = {"ready": True, "why": "", "streams": ["secret"], "pid": 4711}


def serve(address: str) -> Iterator[tuple[Health, str, int]]:
    """Serve on an address and a free port; yield it, and where to ask on this host."""
    health = Health(f"{address}:0", STATUS.copy)
    try:
        yield health, "127.0.0.1", int(health.url.rpartition(":")[2].partition("/")[0])
    finally:
        health.close()


@pytest.fixture
def everywhere() -> Iterator[tuple[Health, str, int]]:
    """Return a health server that other hosts can reach."""
    yield from serve("0.0.0.0")  # noqa: S104 - that is what is tested


@pytest.fixture
def here() -> Iterator[tuple[Health, str, int]]:
    """Return a health server on loopback."""
    yield from serve("127.0.0.1")


def ask(host: str, port: int) -> tuple[int, dict[str, Any]]:
    """Return what a probe is answered."""
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/healthz", timeout=DEADLINE_S) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_other_hosts_learn_whether_a_service_is_ready_and_no_more(
    here: tuple[Health, str, int], everywhere: tuple[Health, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reasons, names of streams and pids are for who is on this host; the status code is for all."""
    code, told = ask(*here[1:])
    assert (200, STATUS) == (code, {name: told[name] for name in STATUS})
    assert (200, {"ready": True}) == ask(*everywhere[1:])
    monkeypatch.setitem(STATUS, "ready", False)  # noqa: FBT003 - a value, as any
    assert (503, {"ready": False}) == ask(*everywhere[1:])


def test_a_crowd_that_says_nothing_or_says_it_slowly_holds_up_no_probe(here: tuple[Health, str, int]) -> None:
    """300 connections, silent, dripping or noisy: a probe among them is answered, and few threads wait."""
    health, host, port = here
    before = threading.active_count()
    with ExitStack() as crowd:
        for number in range(300):
            each = crowd.enter_context(socket.create_connection((host, port), timeout=DEADLINE_S))
            with suppress(OSError):  # the oldest are hung up on
                each.sendall((b"", b"GET /hea", b"\xff\x00" * 500)[number % 3])
            health.turn()
            if number % 50 == 49:
                assert 200 == ask(host, port)[0]
        until(lambda: threading.active_count() - before < 64, "those that were hung up on to leave")
        assert 200 == ask(host, port)[0]


def test_a_page_that_is_not_there_yet_is_no_answer(tmp_path: Path) -> None:
    """A service has its own pages only once it serves: until then the hint where they are is not taken for one."""
    path = str(tmp_path / "health")
    health = Health(path, lambda: {"ready": False})
    try:
        with pytest.raises(HTTPException, match="/metrics"):
            fetch(path, "/metrics")
        health.serve("/metrics", lambda _: ("text/plain", b"up 1\n"))
        assert ("text/plain", b"up 1\n") == fetch(path, "/metrics")
        assert False is json.loads(fetch(path, "/healthz")[1])["ready"], "though its status is 503"
    finally:
        health.close()
