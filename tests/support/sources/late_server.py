"""A real HTTP server on the loopback interface that answers late, and counts what is open. Owns its threads."""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class LateServer(ThreadingHTTPServer):
    """The server; `most_at_once` is the largest number of requests that were open at once."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, handler: Callable[..., BaseHTTPRequestHandler], latency_s: float) -> None:
        """Listen, with this handler for each connection."""
        super().__init__(("127.0.0.1", 0), handler)
        self.latency_s = latency_s
        self.open_now = self.most_at_once = 0
        self.lock = threading.Lock()
        #: Set at the end: no request waits any longer.
        self.over = threading.Event()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @contextmanager
    def request(self) -> Generator[None]:
        """Count a request as open while the block lasts, which begins after the latency."""
        with self.lock:
            self.open_now += 1
            self.most_at_once = max(self.most_at_once, self.open_now)
        try:
            self.over.wait(self.latency_s)
            yield
        finally:
            with self.lock:
                self.open_now -= 1

    @contextmanager
    def running(self) -> Generator[Self]:
        """Serve while the block lasts."""
        with self:
            thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
            thread.start()
            try:
                yield self
            finally:
                self.over.set()
                self.shutdown()
                thread.join(10)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that hang up."""
