"""A real HTTP server on the loopback interface, which serves a folder late, wrongly or not at all, as a test asks.

Owns sockets and threads of its own; knows nothing of Penstock.
"""

import socket
import struct
from collections import Counter, defaultdict
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

from support.sources.late_server import LateServer

#: What a server does to a path's n-th request (from 0): an HTTP status, "truncate", "hang", "redirect", "reset" to cut
#: the connection, "whole" to ignore a Range header, "short" or "shifted" to send another part; "": serve it.
Mischief = Callable[[str, int], int | str]


class Web(LateServer):
    """The server; `requests` counts by path, `most_at_once` is the largest number that was open at once."""

    def __init__(self, folder: Path, latency_s: float, mischief: Mischief) -> None:
        """Listen; the folder may change while it is served."""
        super().__init__(partial(_Handler, directory=str(folder)), latency_s)
        self.mischief = mischief
        self.requests: Counter[str] = Counter()
        #: Offset of a byte in every file that cannot be sent: a request for it is answered with HTTP status 500.
        self.bad_byte: int | None = None
        #: Bytes of parts that were sent, and whether answers say which content a file has.
        self.part_bytes, self.dated = 0, True
        #: By path, where each part that was sent begins and ends.
        self.parts: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)


class _Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 30
    #: Else the answer waits 40 ms for the acknowledgement of its header.
    disable_nagle_algorithm = True

    @property
    def web(self) -> Web:
        """The server that this request came to."""
        assert isinstance(self.server, Web)
        return self.server

    def do_GET(self) -> None:
        """Serve a file or an index page, after the latency and with the mischief."""
        web = self.web
        with web.lock:
            number = web.requests[self.path]
            web.requests[self.path] += 1
        with web.request():
            self._serve(web.mischief(self.path, number))

    def _serve(self, what: int | str) -> None:
        if what in {"", "short", "shifted"} and "Range" in self.headers:
            self._serve_part(what)
        elif what in {"", "whole"}:
            super().do_GET()
        elif isinstance(what, int):
            self.send_error(what)
        elif what == "redirect":
            self.send_response(302)
            self.send_header("Location", "/elsewhere" + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif what == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
        elif what == "hang":
            self.web.over.wait(60)
            self.close_connection = True
        else:
            content = Path(self.translate_path(self.path)).read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True

    def _serve_part(self, what: int | str) -> None:
        file = Path(self.translate_path(self.path))
        if not file.is_file():
            self.send_error(404)
            return
        size = file.stat().st_size
        first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
        last -= what == "short"
        first += what == "shifted"
        if first >= size:
            self.send_error(416)
            return
        if self.web.bad_byte is not None and first <= self.web.bad_byte <= last:
            self.send_error(500)
            return
        with file.open("rb") as opened:
            opened.seek(first)
            part = opened.read(last + 1 - first)
        self.send_response(206)
        self.send_header("Content-Range", f"bytes {first}-{first + len(part) - 1}/{size}")
        self.send_header("Content-Length", str(len(part)))
        if self.web.dated:
            self.send_header("ETag", f'"{file.stat().st_mtime_ns}"')
        self.end_headers()
        with self.web.lock:  # before the client has them, and its test looks
            self.web.part_bytes += len(part)
            self.web.parts[self.path].append((first, first + len(part)))
        self.wfile.write(part)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Be quiet."""


@contextmanager
def serve(folder: Path, latency_s: float = 0.0, mischief: Mischief = lambda path, number: "") -> Generator[Web]:  # noqa: ARG005
    """Serve a folder while the block lasts."""
    with Web(folder, latency_s, mischief).running() as web:
        yield web
