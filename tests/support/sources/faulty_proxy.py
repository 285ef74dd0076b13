"""A real HTTP server on the loopback interface that passes requests on to another one: late, wrongly or not at all."""

import http.client
import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import Any

from support.sources.late_server import LateServer

#: What S3 answers to a client that asks too often.
_SLOW_DOWN = (
    b'<?xml version="1.0" encoding="UTF-8"?><Error><Code>SlowDown</Code><Message>Reduce your rate</Message></Error>'
)
#: Headers that concern one connection, or are written anew.
_OWN = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}


class FaultyProxy(LateServer):
    """The server. Each part of a file (one path, one range) comes wrongly the first `times` that it is asked for."""

    def __init__(self, port: int, latency_s: float, troubles: Sequence[str], times: int) -> None:
        """Listen for the server on `port` of this host; `troubles` are used in turn.

        "slow-down": status 503; "reset": the connection is cut before the answer, "cut": in the middle of its body;
        "short": a byte less comes, and all headers say so; "shifted": the part after the one that was asked for.
        """
        super().__init__(_Handler, latency_s)
        self.target, self.troubles, self.times = port, troubles, times
        self.asked: defaultdict[tuple[str, str], int] = defaultdict(int)
        #: How often each trouble was made.
        self.made: Counter[str] = Counter()

    def trouble(self, path: str, asked: str) -> str:
        """Return what happens to a request for a part of a file; empty: nothing."""
        with self.lock:
            before = self.asked[path, asked]
            self.asked[path, asked] += 1
            if before >= self.times:
                return ""
            found = self.troubles[self.made.total() % len(self.troubles)]
            self.made[found] += 1
            return found


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    #: Else the answer waits 40 ms for the acknowledgement of its header.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Pass a request on, after the latency and with the trouble."""
        assert isinstance(self.server, FaultyProxy)
        proxy = self.server
        with proxy.request():
            asked = self.headers.get("Range", "")
            self._pass_on(proxy, proxy.trouble(self.path, asked) if asked else "")

    do_HEAD = do_GET  # noqa: N815 - its name there

    def _pass_on(self, proxy: FaultyProxy, trouble: str) -> None:
        if trouble == "slow-down":
            self._answer(503, {"Content-Type": "application/xml"}, _SLOW_DOWN)
            return
        if trouble == "reset":
            self._reset()
            return
        headers = dict(self.headers.items())
        if trouble in {"short", "shifted"}:
            first, last = map(int, headers["Range"].removeprefix("bytes=").split("-"))
            first, last = (first + 1, last + 1) if trouble == "shifted" else (first, max(first, last - 1))
            headers["Range"] = f"bytes={first}-{last}"
        connection = http.client.HTTPConnection("127.0.0.1", proxy.target, timeout=30)
        try:
            connection.request(self.command, self.path, headers=headers)
            answer = connection.getresponse()
            body = answer.read()
        finally:
            connection.close()
        told = {name: value for name, value in answer.getheaders() if name.lower() not in _OWN}
        length = answer.getheader("Content-Length") if self.command == "HEAD" else None
        self._answer(answer.status, told, body, length=length, cut=trouble == "cut")

    def _answer(
        self, status: int, headers: dict[str, str], body: bytes, *, length: str | None = None, cut: bool = False
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", length or str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if cut else body)
        if cut:
            self._reset()

    def _reset(self) -> None:
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Be quiet."""


@contextmanager
def faulty(port: int, troubles: Sequence[str], latency_s: float = 0.0, times: int = 1) -> Generator[FaultyProxy]:
    """Stand before the server on `port` of this host while the block lasts."""
    with FaultyProxy(port, latency_s, troubles, times).running() as proxy:
        yield proxy
