"""The dashboard's web server, in a thread of the ventilator that gets a snapshot each second.

A thread is enough: the ventilator hands over one object a second, and what the thread does with it (JSON,
sockets, small pictures now and then) takes milliseconds. This module runs the listening socket, the thread and its
event loop.
"""

import asyncio
import logging
import socket
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from penstock.protocol.errors import SpecError
from penstock.protocol.runtime.log import Logger
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.transport.addresses import is_local
from penstock.protocol.version import __version__
from penstock.ventilator.dashboard.access import Access, new_token, page_url, read_token
from penstock.ventilator.dashboard.events import Events, event
from penstock.ventilator.dashboard.history import History
from penstock.ventilator.dashboard.page import make_app
from penstock.ventilator.dashboard.samples import NameItem, SampleViewer

#: Connections at once: those of all pages, and some that come and go.
_MOST_CONNECTIONS = 64
#: The kernel disconnects a client that acknowledges nothing for so long (ms).
_STUCK_MS = 20_000
#: Longest time (s) to wait for the thread's end; after that, it ends with the process.
_CLOSE_S = 0.7
#: uvicorn's logger for errors, and its message about an answer that we broke off.
_SERVER_LOG, _BROKEN_OFF = logging.getLogger("uvicorn.error"), "ASGI callable returned without completing response."


class Dashboard:
    """A running page. `show` may be called from any thread."""

    def __init__(
        self,
        listening: socket.socket,
        access: Access,
        samples: SampleViewer,
        log: Logger,
    ) -> None:
        """Serve on a listening socket; `open_dashboard` makes the arguments from settings."""
        self._socket, self._samples = listening, samples
        self._history, self._events = History(), Events(self._greet)
        self._latest: Snapshot | None = None
        self._ledger: tuple[int, int] | None = None
        self._loop = asyncio.new_event_loop()
        app = make_app(access, self._events, self._as_json, samples.show)
        config = uvicorn.Config(
            app,
            log_config=None,  # an access log would hold the token
            log_level=logging.ERROR,
            access_log=False,
            lifespan="off",
            ws="none",
            http="h11",
            loop="none",
            server_header=False,
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=1,
        )
        self._server = uvicorn.Server(config)
        self._bridge = _Bridge(log)
        _SERVER_LOG.addHandler(self._bridge)
        self._thread = threading.Thread(target=self._run, name="dashboard", daemon=True)

    def start(self) -> Self:
        """Start to serve."""
        self._thread.start()
        return self

    def name_items(self, name: NameItem) -> None:
        """Let samples be shown with the names of their items, once the sources are listed."""
        self._samples.name = name

    def show(self, snapshot: Snapshot, sink: str) -> None:
        """Push a snapshot to all pages; `sink` is the sink's address for trainers, empty without one."""
        with suppress(RuntimeError):  # the loop is closed: no page is open
            self._loop.call_soon_threadsafe(self._publish, snapshot, sink)

    def __enter__(self) -> Self:
        """Return the dashboard, which serves already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop serving."""
        self.close()

    def close(self) -> None:
        """Stop serving."""
        self._server.should_exit = True
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._events.close)
        if self._thread.is_alive():
            self._thread.join(_CLOSE_S)
        _SERVER_LOG.removeHandler(self._bridge)

    def _run(self) -> None:
        with closing(self._socket), asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._server.serve(sockets=[self._socket]))

    def _publish(self, snapshot: Snapshot, sink: str) -> None:
        self._latest = snapshot
        self._history.add(snapshot)
        self._samples.sink = sink
        if not self._events:
            self._ledger = None
            return
        self._events.publish(_snapshot_event(snapshot))
        known = (snapshot.sink.quarantined if snapshot.sink else 0, len(snapshot.ledger))
        if self._ledger != known:
            self._ledger = known
            self._events.publish(_ledger_event(snapshot))

    def _greet(self) -> Iterator[bytes]:
        """Yield the first events of a page: all that is known."""
        yield event("history", self._history.columns())
        if self._latest is None:
            yield event("starting", {"why": "listing the sources", "version": __version__})
            return
        yield _ledger_event(self._latest)
        yield _snapshot_event(self._latest)

    def _as_json(self) -> str | None:
        return self._latest.model_dump_json() if self._latest else None


def _snapshot_event(snapshot: Snapshot) -> bytes:
    return event("snapshot", snapshot.model_dump_json(exclude={"ledger"}))


def _ledger_event(snapshot: Snapshot) -> bytes:
    return event("ledger", [line.model_dump() for line in snapshot.ledger])


class _Bridge(logging.Handler):
    """Writes the server's errors to our log."""

    def __init__(self, log: Logger) -> None:
        super().__init__(logging.ERROR)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage() == _BROKEN_OFF:
            self._log.info("dashboard", problem="a page that did not read was dropped")
        else:
            self._log.error("dashboard", problem=record.getMessage(), exc_info=record.exc_info)


def open_dashboard(
    address: str,
    token_file: str,
    hosts: Sequence[str],
    keys: str,
    log: Logger,
) -> Dashboard:
    """Listen, and log the address; a token without a file appears in that line only. Raises SpecError."""
    host, _, port = address.rpartition(":")
    local = is_local(f"tcp://{address}")
    token = read_token(Path(token_file)) if token_file else "" if local else new_token()
    listening = _listen(address, host.strip("[]"), port)
    bound = listening.getsockname()[1]
    names = [socket.gethostname(), host, *hosts]
    where = {"token_file": token_file} if token_file else {}  # others may read the log
    log.info("dashboard", url=page_url(address, bound, "" if token_file else token, hosts), **where)
    return Dashboard(listening, Access(token, names, bound), SampleViewer(keys), log).start()


def _listen(address: str, host: str, port: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _STUCK_MS)
        listening.bind(("" if host == "*" else host, int(port)))
        listening.listen()
    except (ValueError, OverflowError, OSError) as error:
        listening.close()
        raise SpecError(
            f"dashboard {address!r}: {error}; give host:port with a free port, or 0 for any, as in 127.0.0.1:5550"
        ) from error
    return listening
