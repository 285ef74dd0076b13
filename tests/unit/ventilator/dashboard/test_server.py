"""The dashboard's server: pages, events, tokens and limits."""

import http.client
import json
import re
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import capture_logs
from support.snapshots import make_line, make_snapshot
from support.streams import until

from penstock.observe.http_client import WebOnlooker
from penstock.protocol.errors import DeadlineError, RefusedError, RemoteProtocolError, SpecError
from penstock.ventilator.dashboard.events import MOST_CLIENTS
from penstock.ventilator.dashboard.history import KEPT, History
from penstock.ventilator.dashboard.server import Dashboard, open_dashboard

#: Longest that an answer may take (s).
DEADLINE_S = 60.0


@contextmanager
def serving(address: str = "127.0.0.1:0", token_file: str = "", **hosts: Any) -> Generator[tuple[Dashboard, int, str]]:
    """Serve; give the dashboard, its port and the address that was logged."""
    with capture_logs() as lines:
        dashboard = open_dashboard(address, token_file, hosts.get("hosts", ()), "", structlog.get_logger())
    [line] = lines
    assert "dashboard" == line["event"]
    with dashboard:
        yield dashboard, int(re.findall(r":(\d+)/", line["url"])[0]), line["url"]


@pytest.fixture
def served() -> Generator[tuple[Dashboard, int]]:
    """Serve on loopback."""
    with serving() as (dashboard, port, _):
        yield dashboard, port


def get(port: int, path: str, **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    """Return the answer to a GET."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer, answer.read()


def listen(port: int, *, beats: bool = False) -> Iterator[tuple[str, Any]]:
    """Yield the events of a page, for as long as the server sends them; `beats`: those without content too."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
        connection.request("GET", "/events")
        answer = connection.getresponse()
        assert (200, "text/event-stream; charset=utf-8") == (answer.status, answer.getheader("content-type"))
        name = ""
        for line in answer:
            text = line.decode().rstrip("\n")
            if text.startswith("event: "):
                name = text.removeprefix("event: ")
            elif text.startswith("data: ") and (beats or name != "alive"):
                yield name, json.loads(text.removeprefix("data: "))


def test_the_page_and_its_files_are_served(served: tuple[Dashboard, int]) -> None:
    """Every file that the page names, with its type; nothing else, whatever the path tries."""
    _, port = served
    answer, body = get(port, "/")
    assert (200, "text/html; charset=utf-8") == (answer.status, answer.getheader("content-type"))
    named = set(re.findall(r'(?:src|href)="(/[^"]+)"', body.decode()))
    assert {"/assets/main.js", "/assets/page.css"} <= named
    scripts = {"/assets/main.js"}
    while missing := scripts - named | {path for path in scripts if path not in named}:
        named |= missing
        for path in missing:
            scripts |= {f"/assets/{name}" for name in re.findall(r'from "\./([\w.]+)"', get(port, path)[1].decode())}
    for path in named:
        answer, body = get(port, path)
        assert 200 == answer.status, path
        assert body
    for path in ("/assets/../server.py", "/assets/%2e%2e/server.py", "/assets/", "//etc/passwd", "/server.py"):
        assert 404 == get(port, path)[0].status, path


def test_every_answer_says_what_browsers_must_not_do_with_it(served: tuple[Dashboard, int]) -> None:
    """Also refusals and errors: nothing from elsewhere, no frames, no guessing of types, no keeping."""
    _, port = served
    for path, headers in (("/", {}), ("/none", {}), ("/status", {}), ("/", {"Host": "evil.example"})):
        answer, _ = get(port, path, **headers)
        assert "default-src 'none'; script-src 'self'" in (answer.getheader("content-security-policy") or "")
        assert "nosniff" == answer.getheader("x-content-type-options")
        assert "DENY" == answer.getheader("x-frame-options")
        assert "no-store" == answer.getheader("cache-control")


def test_a_page_hears_what_was_before_it_came_and_then_every_snapshot(served: tuple[Dashboard, int]) -> None:
    """The history, the ledger, the last snapshot; the ledger again only when there is more in it."""
    dashboard, port = served
    events = listen(port)
    assert ("history", {"at": [], "made": [], "delivered": [], "wait": [], "word": []}) == next(events)
    name, starting = next(events)
    assert ("starting", "listing the sources") == (name, starting["why"])
    first, second = make_snapshot(at=1.0), make_snapshot(at=2.0, ledger=[make_line(0, "<b>.jpg")])
    dashboard.show(first, "")
    assert ("snapshot", first.model_dump(mode="json", exclude={"ledger"})) == next(events)
    assert ("ledger", []) == next(events)
    dashboard.show(second, "")
    assert "snapshot" == next(events)[0]
    assert ("ledger", [line.model_dump(mode="json") for line in second.ledger]) == next(events)
    dashboard.show(make_snapshot(at=3.0, ledger=second.ledger), "")
    assert 3.0 == next(events)[1]["at"]

    later = listen(port)
    assert ("history", [1.0, 2.0, 3.0]) == ((told := next(later))[0], told[1]["at"])
    assert ["ledger", "snapshot"] == [next(later)[0], next(later)[0]]
    dashboard.show(make_snapshot(at=4.0, ledger=second.ledger), "")
    assert [4.0, 4.0] == [next(events)[1]["at"], next(later)[1]["at"]]


def test_a_page_that_waits_for_the_listing_hears_that_the_line_is_open(served: tuple[Dashboard, int]) -> None:
    """A source may take minutes to list: the page must not take that for a loss."""
    _, port = served
    events = listen(port, beats=True)
    assert ["history", "starting", "alive", "alive"] == [next(events)[0] for _ in range(4)]


def test_only_the_last_minutes_are_remembered() -> None:
    """The ring is bounded."""
    history = History()
    for at in range(KEPT + 10):
        history.add(make_snapshot(at=float(at)))
    columns = history.columns()
    assert (KEPT, 10.0) == (len(columns["at"]), columns["at"][0])
    assert {1_200.0} == set(columns["delivered"])


def test_the_snapshot_can_be_asked_for_by_programs(served: tuple[Dashboard, int]) -> None:
    """As JSON, once there is one."""
    dashboard, port = served
    with WebOnlooker(f"http://127.0.0.1:{port}", DEADLINE_S) as onlooker:
        with pytest.raises(DeadlineError, match="listing the sources"):
            onlooker.look()
        snapshot = make_snapshot(ledger=[make_line(0), make_line(1)])
        dashboard.show(snapshot, "")
        until(lambda: get(port, "/status")[0].status == 200, "the snapshot")
        assert snapshot == onlooker.look()
        assert 1 == len(onlooker.look(ledger=1).ledger)
    with (
        WebOnlooker(f"http://127.0.0.1:{port}/assets/main.js") as onlooker,
        pytest.raises(RemoteProtocolError, match="no snapshot"),
    ):
        onlooker.look()
    with (
        WebOnlooker(f"http://127.0.0.1:{port}/none") as onlooker,
        pytest.raises(RemoteProtocolError, match="answers 404"),
    ):
        onlooker.look()


@pytest.mark.parametrize("address", ["http://", "https://box:1", "http://box:port", "http://[::1"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """With what to give instead."""
    with pytest.raises(SpecError, match=r"give http://host:port"):
        WebOnlooker(address)


def test_beyond_loopback_a_token_is_made_and_asked_for(tmp_path: Path) -> None:
    """It stands in the logged address; a file keeps it, and then no log has it: others may read that."""
    with serving("0.0.0.0:0") as (_, port, url):
        token = url.partition("?token=")[2]
        assert len(token) >= 32
        assert [401, 401, 401] == [get(port, path)[0].status for path in ("/", "/events", "/?token=wrong")]
        answer, _ = get(port, f"/?token={token}")
        assert (303, "/") == (answer.status, answer.getheader("location"))
        cookie = (answer.getheader("set-cookie") or "").partition(";")[0]
        assert 200 == get(port, "/", Cookie=cookie)[0].status
        assert 503 == get(port, f"/status?token={token}")[0].status, "let in; nothing is known yet"
        with WebOnlooker(f"http://127.0.0.1:{port}/") as onlooker, pytest.raises(RefusedError, match="wants its token"):
            onlooker.look()
    file = str(tmp_path / "token")
    for _ in range(2):
        with serving(token_file=file) as (_, port, url):
            assert "token=" not in url
            answer, said = get(port, "/")
            assert 401 == answer.status, "on loopback too, if there is a file"
            assert b"--dashboard-token-file" in said
            assert 200 == get(port, "/", Authorization=f"Bearer {Path(file).read_text().strip()}")[0].status


def test_a_page_that_calls_us_by_a_name_of_its_own_is_refused() -> None:
    """Unless the settings give that name."""
    with serving(hosts=("stack.example",)) as (_, port, _url):
        assert 403 == get(port, "/", Host=f"evil.example:{port}")[0].status
        assert 200 == get(port, "/", Host="stack.example")[0].status
        assert 405 == _post(port)


def _post(port: int) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)) as connection:
        connection.request("POST", "/", body=b"x")
        return connection.getresponse().status


def test_a_port_that_is_taken_or_none_is_refused() -> None:
    """In words, before anything is served."""
    with serving() as (_, port, _url):
        for address, words in ((f"127.0.0.1:{port}", "in use"), ("127.0.0.1:x", "invalid"), ("nonsense", "free port")):
            with pytest.raises(SpecError, match=words):
                open_dashboard(address, "", (), "", structlog.get_logger())


def test_more_pages_than_allowed_are_told_so(served: tuple[Dashboard, int]) -> None:
    """And there is room again once one is closed."""
    _, port = served
    with contextmanager(_open_many)(port) as pages:
        assert 503 == get(port, "/events")[0].status
        pages.pop().close()
        until(lambda: _opens(port), "room for another page")


def _open_many(port: int) -> Generator[list[socket.socket]]:
    pages = []
    for _ in range(MOST_CLIENTS):
        pages.append(socket.create_connection(("127.0.0.1", port), DEADLINE_S))
        pages[-1].sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"200 OK" in pages[-1].recv(100)
    yield pages
    for page in pages:
        page.close()


def _opens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), DEADLINE_S) as page:
        page.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        return b"200 OK" in page.recv(100)


def test_a_page_that_does_not_read_is_dropped_and_the_others_go_on(served: tuple[Dashboard, int]) -> None:
    """Its queue is bounded, and no other page waits for it."""
    dashboard, port = served
    ledger = [make_line(number, "x" * 400, "y" * 400) for number in range(1000)]
    with socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.settimeout(DEADLINE_S)
        deaf.connect(("127.0.0.1", port))
        deaf.sendall(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        events = listen(port)
        next(events)
        until(lambda: len(dashboard._events) == 2, "both pages")
        at = 0
        deadline = time.monotonic() + DEADLINE_S
        while len(dashboard._events) == 2:
            assert time.monotonic() < deadline, "the page that does not read was not dropped"
            at += 1
            dashboard.show(make_snapshot(at=float(at), ledger=ledger[: 990 + at % 10]), "")
            _read_up_to(events, at)
        dashboard.show(make_snapshot(at=1e6), "")
        _read_up_to(events, 1e6)


def _read_up_to(events: Iterator[tuple[str, Any]], at: float) -> None:
    while (event := next(events))[0] != "snapshot" or event[1]["at"] < at:
        pass


def test_closing_ends_all_pages_at_once(served: tuple[Dashboard, int]) -> None:
    """A ventilator that stops does not wait for browsers."""
    dashboard, port = served
    events = listen(port)
    next(events)
    dashboard.close()
    assert not dashboard._thread.is_alive()
    for _ in events:
        pass
    dashboard.show(make_snapshot(), "")  # too late, and no error
