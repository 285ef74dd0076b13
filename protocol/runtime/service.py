"""The base of all services: logging, signals, health, the main loop, process settings and a watch on the parent.

A service is a loop over a hub of sockets (`transport`).
"""

import ctypes
import gc
import os
import resource
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from penstock.protocol.errors import PenstockError
from penstock.protocol.instructions import Note
from penstock.protocol.runtime import log as logs
from penstock.protocol.runtime.health import Health
from penstock.protocol.runtime.printable import printable
from penstock.protocol.runtime.settings import AnySettings, ServiceSettings, parse
from penstock.protocol.runtime.streams import open_standard_streams
from penstock.protocol.transport.keys import Role, open_keys
from penstock.protocol.transport.sockets import Hub
from penstock.protocol.transport.tracer import Tracer

Observation = TypeVar("Observation")

#: Longest wait of a loop (s): bounds how late a missing parent is noticed.
_LONGEST_WAIT_S = 0.5
#: How many times longer than it takes is the pause between two observations.
SPARED = 100
#: Files that a process may open at most on macOS, whatever its limits say (OPEN_MAX).
_OPEN_FILES = 10_240


def keep_freed_memory() -> None:
    """Let the C library keep freed megabytes for the next array instead of giving them back and faulting them in anew.

    By glibc's mallopt(3): blocks up to 32 MB (its own upper bound) come from the heap, of which up to 256 MB stay.
    Other C libraries are left as they are.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(mmap_threshold, 32 << 20)
        mallopt(trim_threshold, 256 << 20)


def let_computation_run() -> None:
    """Ask the kernel not to interrupt computing processes when a message wakes this one up: SCHED_BATCH of sched(7).

    Where a core is free it runs at once; where all are busy it runs a few milliseconds later and finds more to do. Each
    interruption costs the computation its caches.
    """
    if hasattr(os, "SCHED_BATCH"):
        with suppress(OSError):  # forbidden in some sandboxes: no matter
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def allow_descriptors() -> None:
    """Raise the limit of open files as far as we may: each connection takes one, each segment of shared memory too."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except ValueError:  # macOS says that there is no limit, and has one
        resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, most))


def spare_collector(after: int = 20_000) -> None:
    """Keep the cycle collector from walking through all loaded modules each time that messages come in.

    `gc.freeze` exempts the objects that exist now. Messages form no cycles, so counting references frees them; cycles
    are still found, once `after` objects more live, instead of 700.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(after, 50, 100)


class Observed(Generic[Observation]):
    """The last observation of a core. The service's loop renews it, and other threads read `latest`."""

    def __init__(
        self, observe: Callable[[float], Observation], every_s: float, now: float, patience_s: float = 0.0
    ) -> None:
        """Observe the core at `now` (monotonic s), and from then on at most once in `every_s` seconds.

        Of a large core it is less often, so that it takes no more than a hundredth of the time. `patience_s`: how much
        longer a change may stay unseen where no other work makes the loop turn.
        """
        self._observe, self._every_s, self._patience_s, self._at = observe, every_s, patience_s, now
        #: Seconds until the next observation.
        self._pause_s = every_s
        #: The last observation, a frozen record.
        self.latest = observe(now)

    def renew(self, now: float, due: float) -> float:
        """Observe the core if it is time to; return when to turn again: at `due`, or earlier to show what changed.

        Without the earlier time, changes of this turn would be visible only after the loop's next wait.
        """
        if now < (again := self._at + self._pause_s):
            return min(due, again + self._patience_s)
        began = time.thread_time()
        self.latest, self._at = self._observe(now), now
        self._pause_s = max(self._every_s, SPARED * (time.thread_time() - began))
        return due


class Service:
    """A running service: its hub, its log, its health and whether it was asked to stop."""

    def __init__(self, name: Role, settings: ServiceSettings, status: Callable[[], Mapping[str, Any]]) -> None:
        """Set up logging, signals and /healthz, in the main thread; `status` returns at least `ready` (bool)."""
        keep_freed_memory()
        let_computation_run()
        self.name = name
        self.log = logs.configure(name, settings.log_level, settings.log_style)
        allow_descriptors()
        self.hub = Hub(self.log, open_keys(settings.keys, name), insecure=settings.insecure)
        if settings.trace:
            self.hub.tracer = Tracer(settings.trace, name, settings.trace_every)
        self.stopping = False
        #: Set while something long runs before the loop: a signal then ends the service by SystemExit.
        self.starting = False
        #: Whether the process that started this one is gone: then its peers leave too, and draining is of no use.
        self.orphaned = False
        self._parent = settings.parent
        #: Until when messages may wait to be read (monotonic s).
        self._rest_until = 0.0
        self.hub.handle_signals(self.stop)  # before its health says that it is there
        self.health = Health(
            settings.health, lambda: {"service": name, "pid": os.getpid(), **self._common(), **status()}
        )

    def __enter__(self) -> Self:
        """Say that it has started."""
        self.log.debug("started", pid=os.getpid(), health=self.health.url)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close everything."""
        self.health.close()
        self.hub.close()
        self.log.info("stopped", reason="asked to" if error is None or self.stopping else str(error))

    def stop(self) -> None:
        """Ask the loop to end; before it has begun, leave at once."""
        self.stopping = True
        if self.starting:
            raise SystemExit(0)

    def rest_until(self, then: float) -> None:
        """Read no message before `then` (monotonic s): those that come meanwhile share one turn of the loop.

        A turn costs little, but to be woken for it costs much: the cores' caches hold what the workers do. A signal,
        or `Hub.wake`, ends the rest.
        """
        self._rest_until = then

    def wait_until(self, deadline: float) -> float:
        """Wait for messages until `deadline` (monotonic s) at the latest; return the time then."""
        if (left := self._rest_until - time.monotonic()) > 0:
            self.hub.rest(left)
        self.hub.wait(min(deadline - time.monotonic(), _LONGEST_WAIT_S))
        self.health.turn()
        if self._parent and os.getppid() != self._parent and not self.stopping:
            self.log.warning("the process that started this service is gone: leaving", parent=self._parent)
            self.orphaned = True
            self.stop()
        return time.monotonic()

    def loop(self, turn: Callable[[float], float], left: Callable[[], bool]) -> None:
        """Call `turn` until `left` says so: whenever messages are here, and at the time that it returned last.

        Both times are monotonic seconds.
        """
        deadline = time.monotonic()
        while not left():
            deadline = turn(self.wait_until(deadline))

    def note(self, note: Note) -> None:
        """Log what a core noticed."""
        getattr(self.log, note.level)(note.event, **note.fields)

    def _common(self) -> dict[str, Any]:
        return {"stopping": self.stopping, "rejected": dict(self.hub.rejects.counts)}


def host_name() -> str:
    """Return this host's name, for people."""
    return socket.gethostname()


def run(
    model: type[AnySettings], serve: Callable[[AnySettings], int], command: str, arguments: Sequence[str] | None
) -> int:
    """Parse the settings of a command and run it; our own errors become one line, never a traceback."""
    open_standard_streams()
    try:
        settings = parse(model, sys.argv[1:] if arguments is None else arguments, command)
        for name in ("PENSTOCK_PARENT", "PENSTOCK_RESTARTS"):  # about this process, not those that a transform starts
            os.environ.pop(name, None)
        return serve(settings)
    except PenstockError as error:
        text = f"penstock {command}: {error}".replace(f"penstock {command}: penstock", "penstock")
        print(printable(text, keep="\n"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
