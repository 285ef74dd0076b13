"""Server-sent events: each event goes to every open page, and a page that does not read is dropped.

The number of pages and their queues are bounded. Everything runs in one event loop.
"""

import asyncio
import json
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

#: Pages that may be open at once.
MOST_CLIENTS = 16
#: Events that may wait for one page, one a second; a page with more is dropped.
_MOST_WAITING = 15
#: After so many seconds without an event, an empty one shows proxies, the kernel and waiting pages that the connection
#: is in use; for instance while the ventilator lists its sources.
_BEAT_S = 2.0
#: Milliseconds after which a page connects again when its connection is lost.
_RETRY_MS = 1000
_HEADERS = [(b"content-type", b"text/event-stream; charset=utf-8"), (b"x-accel-buffering", b"no")]


@dataclass(slots=True, eq=False)
class _Client:
    """One open page."""

    limit: asyncio.Timeout
    waiting: asyncio.Queue[bytes] = field(default_factory=lambda: asyncio.Queue(_MOST_WAITING))
    #: Whether it was dropped because it did not read: then it gets no last event.
    slow: bool = False

    def end(self) -> None:
        """Let its request end now, wherever it waits."""
        with suppress(RuntimeError):  # it has ended already
            self.limit.reschedule(0.0)


def event(name: str, data: str | object) -> bytes:
    """Return an event; `data` is JSON in one line, or a value to be encoded so."""
    text = data if isinstance(data, str) else json.dumps(data, separators=(",", ":"))
    return f"event: {name}\ndata: {text}\n\n".encode()


class Events:
    """The endpoint of the stream: an ASGI application."""

    def __init__(self, greet: Callable[[], Iterable[bytes]]) -> None:
        """Start without clients; `greet` returns the first events of a new one."""
        self._greet = greet
        self._clients: set[_Client] = set()
        self._over = False

    def __len__(self) -> int:
        """Return how many pages are open."""
        return len(self._clients)

    def publish(self, data: bytes) -> None:
        """Send to every open page, without waiting."""
        for client in tuple(self._clients):
            try:
                client.waiting.put_nowait(data)
            except asyncio.QueueFull:
                client.slow = True
                self._clients.discard(client)
                client.end()

    def close(self) -> None:
        """End all requests, and refuse new ones."""
        self._over = True
        for client in self._clients:
            client.end()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request until either side ends it."""
        if self._over or len(self._clients) >= MOST_CLIENTS:
            text = "the ventilator stops\n" if self._over else f"{MOST_CLIENTS} pages are open already: close one\n"
            await PlainTextResponse(text, 503, {"Retry-After": "10"})(scope, receive, send)
            return
        client: _Client | None = None
        try:
            async with asyncio.timeout(None) as limit:
                client = _Client(limit)
                self._clients.add(client)
                watch = asyncio.ensure_future(_watch(receive, client))
                try:
                    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
                    await self._feed(client, send)
                finally:
                    self._clients.discard(client)
                    watch.cancel()
        except TimeoutError:
            if client and not client.slow:
                await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _feed(self, client: _Client, send: Send) -> None:
        first = f"retry: {_RETRY_MS}\n\n".encode() + b"".join(self._greet())
        await send({"type": "http.response.body", "body": first, "more_body": True})
        while True:
            try:
                data = await asyncio.wait_for(client.waiting.get(), _BEAT_S)
            except TimeoutError:
                data = event("alive", "{}")
            await send({"type": "http.response.body", "body": data, "more_body": True})


async def _watch(receive: Receive, client: _Client) -> None:
    """Notice that the page was closed."""
    while (await receive())["type"] != "http.disconnect":
        pass
    client.end()
