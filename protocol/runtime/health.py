"""Serves `/healthz` and a service's other pages: a small HTTP server in a thread.

It knows whether the service's loop still turns; the service provides everything else that the pages say.
"""

import http.client
import json
import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from penstock.protocol.errors import SpecError
from penstock.protocol.transport import unix_sockets
from penstock.protocol.transport.addresses import is_local
from penstock.protocol.transport.own_files import made_for_owner

#: Seconds without a turn of the service's loop after which it counts as stuck.
_STUCK_S = 15.0
#: Connections served at once, each by a thread: of more, the oldest is hung up on, and a probe is over in milliseconds.
_CONNECTIONS = 32
#: Longest (s) that `close` waits for the server's thread.
_CLOSE_S = 1.0

#: What answers a GET: the Accept header to the content type and the body.
PageAnswer = Callable[[str], tuple[str, bytes]]


class Health:
    """Answers `GET /healthz`: 200 while the loop turns and the service is ready, else 503; JSON says why."""

    def __init__(self, address: str, status: Callable[[], dict[str, Any]]) -> None:
        """Serve on `host:port` (port 0: any) or `/path` (a Unix socket); empty: nowhere. `status` has `ready`."""
        self._turned = time.monotonic()
        self._pid = os.getpid()
        self._status = status
        self._pages: dict[str, PageAnswer] = {}
        #: Pages that name hosts and files: only for clients on this host.
        self._private: set[str] = set()
        self._is_local = address.startswith("/") or is_local(f"tcp://{address}")
        self.url = ""
        self._path = address if address.startswith("/") else ""
        if not address:
            return
        host, _, port = address.rpartition(":")
        try:
            if self._path:
                unix_sockets.check_free(self._path)
                Path(self._path).unlink(missing_ok=True)  # left by a killed predecessor
                self._server: ThreadingHTTPServer = _UnixServer(self._path, self._handler())
            else:
                self._server = (_TcpServer6 if ":" in host else _TcpServer)(
                    (host.strip("[]"), int(port)), self._handler()
                )
        except (ValueError, OverflowError, OSError) as error:
            raise SpecError(
                f"health address {address!r}: {error}; give host:port with a free port, or 0 for any, or a /path"
            ) from error
        self._server.daemon_threads = True
        self.url = self._path or f"http://{host}:{self._server.server_address[1]}/healthz"
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="healthz", daemon=True)
        self._thread.start()

    def serve(self, path: str, page: PageAnswer, *, private: bool = False) -> None:
        """Answer `GET path` too; a private page only where other hosts cannot ask."""
        if private:
            self._private.add(path)
        self._pages[path] = page

    def turn(self) -> None:
        """Note that the service's loop has turned."""
        self._turned = time.monotonic()

    def close(self) -> None:
        """Stop serving; does nothing in a forked process, which does not serve."""
        if self._pid != os.getpid():
            return
        if self.url:
            self._closing = True
            with suppress(OSError), socket.socket(self._server.address_family, socket.SOCK_STREAM) as waker:
                waker.settimeout(_CLOSE_S)
                waker.connect(self._server.socket.getsockname())
            self._thread.join(_CLOSE_S)
            self._server.server_close()
        if self._path:
            Path(self._path).unlink(missing_ok=True)

    def _serve(self) -> None:
        """Answer, asleep between probes: `serve_forever` would wake up many times a second to see whether to stop."""
        while not self._closing:
            self._server.handle_request()

    def answer(self) -> tuple[int, dict[str, Any]]:
        """Return the HTTP status and the content of `/healthz`."""
        age = time.monotonic() - self._turned
        status = self._status() | {"loop_age_s": round(age, 3)}
        if age > _STUCK_S and status["ready"]:  # a service that is not ready explains it better itself
            status |= {"ready": False, "why": f"the service's loop has not turned for {age:.0f} s"}
        return (200 if status["ready"] else 503), status

    def get(self, path: str, accept: str) -> tuple[int, str, bytes]:
        """Return the HTTP status, the content type and the body for a path."""
        told: dict[str, Any]
        if path in self._private and not self._is_local:
            code, told = 403, {"why": "served on loopback and Unix sockets only: it names hosts and files"}
        elif page := self._pages.get(path):
            return (200, *page(accept))
        elif path == "/healthz":
            code, told = self.answer()
            if not self._is_local:  # a probe needs no more; reasons name hosts, streams and files
                told = {"ready": told["ready"]}
        else:
            code, told = 404, {"try": ["/healthz", *self._pages]}
        return code, "application/json", json.dumps(told, default=str).encode() + b"\n"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        health = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 5

            def do_GET(self) -> None:
                code, kind, body = health.get(self.path.partition("?")[0], self.headers.get("Accept", ""))
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the base class's
                """Keep probes out of the log."""

        return Handler


class _TcpServer(ThreadingHTTPServer):
    """Binds without looking a host name up, which takes seconds where name service is slow; lets probes go.

    Clients that connect and send nothing, or send it slowly, delay no other, however many they are.
    """

    #: Connections that wait to be accepted: of more, the kernel drops some, and each tries again a second later.
    request_queue_size = 4 * _CONNECTIONS

    def __init__(self, *arguments: Any) -> None:  # noqa: ANN401 - the base class's
        """Bind; connections that wait for their answer are kept, the oldest first."""
        self._waiting: dict[Any, None] = {}
        super().__init__(*arguments)

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the base class's
        """Answer in a thread of its own; hang up on the oldest if there are too many."""
        self._waiting[request] = None
        if len(self._waiting) > _CONNECTIONS:
            oldest = next(iter(self._waiting))
            self._waiting.pop(oldest, None)
            with suppress(OSError):  # it was answered meanwhile
                oldest.shutdown(socket.SHUT_RDWR)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:  # noqa: ANN401 - the base class's
        """Forget a connection that was answered, and close it."""
        self._waiting.pop(request, None)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """Log nothing: a probe that hung up before its answer is no event."""

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)


class _TcpServer6(_TcpServer):
    """The same for IPv6."""

    address_family = socket.AF_INET6


class _UnixServer(_TcpServer):
    """The same over a Unix socket."""

    address_family = socket.AF_UNIX

    def server_bind(self) -> None:
        """Bind so that only this user can connect."""
        with made_for_owner():
            super().server_bind()


def query(path: str, timeout_s: float = 2.0) -> dict[str, Any]:
    """Return what the service behind a Unix socket answers; `{"ready": False, "why": …}` if it does not."""
    try:
        status: dict[str, Any] = json.loads(fetch(path, "/healthz", timeout_s)[1])
    except (OSError, http.client.HTTPException, ValueError) as error:
        return {"ready": False, "why": f"no answer: {error}"}
    return status


def open_connection(address: str, timeout_s: float) -> http.client.HTTPConnection:
    """Return a connection to a service's health address: `/path`, `host:port`, or the URL that the service logs.

    Raises OSError or http.client.HTTPException.
    """
    if address.startswith("/"):
        connection = http.client.HTTPConnection("localhost", timeout=timeout_s)
        connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.sock.settimeout(timeout_s)
        try:
            connection.sock.connect(address)
        except OSError:
            connection.close()
            raise
        return connection
    return http.client.HTTPConnection(address.removeprefix("http://").partition("/")[0], timeout=timeout_s)


def fetch(path: str, page: str, timeout_s: float = 2.0, accept: str = "") -> tuple[str, bytes]:
    """Return the content type and the body of a page of the service behind a Unix socket.

    Raises OSError, or http.client's HTTPException, if there is no answer, or no such page: a service has those of its
    own only once it serves.
    """
    connection = open_connection(path, timeout_s)
    try:
        connection.request("GET", page, headers={"Accept": accept} if accept else {})
        with connection.getresponse() as answer:  # else what was not read keeps its socket
            if answer.status == HTTPStatus.NOT_FOUND:
                raise http.client.HTTPException(f"{page}: there is no such page")
            return answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()
