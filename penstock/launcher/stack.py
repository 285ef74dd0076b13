"""The embedded launcher: a whole stack as supervised processes on this machine.

Starts, restarts and stops processes, and manages the run folder. Every service reconnects by itself, so the order of
starts and restarts does not matter.
"""

import os
import shutil
import tempfile
import threading
import weakref
from collections import Counter
from collections.abc import Mapping
from dataclasses import astuple, dataclass
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import ValidationError

from penstock.launcher.dashboard_options import DashboardOptions, DashboardPlan, lay_out
from penstock.launcher.in_memory_sources import Given
from penstock.launcher.service_command import service_command
from penstock.launcher.supervisor import Child, Supervisor
from penstock.protocol.errors import PenstockError, SpecError, StackError
from penstock.protocol.runtime.health import fetch, query
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.spec.roots import absolute_root
from penstock.protocol.spec.spec import Spec, load_spec, parse_spec
from penstock.protocol.transport.addresses import check_address
from penstock.protocol.transport.keys import given_keys
from penstock.protocol.transport.unix_sockets import discard
from penstock.terminal.words import several
from penstock.trainer.client.feed import Feed

#: Seconds that the ventilator may take to list its sources.
_START_S = 300.0
#: Longest that `snapshot` waits for the ventilator (s): on a busy machine it may stand still for some seconds.
_ANSWER_S = 10.0


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where the services of a stack meet."""

    ventilator: str
    results: str
    trainers: str

    @classmethod
    def in_folder(cls, folder: Path) -> Self:
        """Return Unix sockets in a folder."""
        return cls(*(f"ipc://{folder}/{name}.sock" for name in ("ventilator", "results", "trainers")))


class LocalStack:
    """Ventilator, sink and workers on this machine; a context manager. Made by `penstock.local` and `penstock up`."""

    def __init__(  # noqa: PLR0913 - by keyword, each with a default
        self,
        spec: str | Path | Mapping[str, Any] | Spec,
        *,
        workers: int | None = None,
        roots: Mapping[str, str | os.PathLike[str]] | None = None,
        run_dir: str | Path | None = None,
        addresses: Addresses | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        inherit_logs: bool = False,
        keys: str | Path | None = None,
        dashboard: str | DashboardOptions = "",
    ) -> None:
        """Check the spec; start nothing yet. `options` are extra settings by service, as in {"worker": {"slots": 4}}.

        `keys` is a key folder with all four roles; default: PENSTOCK_KEYS, or none: its own sockets are in a folder of
        its own. `dashboard` is host:port of the page, "auto" for a port of loopback, or empty for none.

        Raises SpecError.
        """
        if workers is not None and workers < 0:
            raise SpecError(f"workers = {workers}: give 0 or more")
        self._given = Given()
        self.spec = _as_spec(self._given.extract(spec) if isinstance(spec, Mapping) else spec)
        self.workers = len(os.sched_getaffinity(0)) if workers is None else workers
        #: Why the stack gave up; None while it is well.
        self.error: PenstockError | None = None
        self._roots = {name: absolute_root(str(root), Path.cwd()) for name, root in (roots or {}).items()}
        self.spec.map_roots(self._roots)
        self._given_dir = Path(run_dir) if run_dir else None
        self._addresses = addresses
        self._options = {name: dict(values) for name, values in (options or {}).items()}
        self._inherit_logs = inherit_logs
        self._keys = given_keys(keys)
        self._page_options = dashboard if isinstance(dashboard, DashboardOptions) else DashboardOptions(dashboard)
        self._page = DashboardPlan({}, "")
        self._feeds: weakref.WeakSet[Feed] = weakref.WeakSet()
        #: Held while the set of feeds is used; the collector may stop a stack on the thread that holds it.
        self._lock = threading.RLock()
        #: The process that runs the stack.
        self._pid = os.getpid()
        self._supervisor: Supervisor | None = None
        self._bound: tuple[str, ...] = ()
        #: How often each name was given to a process: its predecessor may still drain, and answer at /healthz.
        self._given_names: Counter[str] = Counter()
        self.run_dir = self._given_dir or Path()

    def __repr__(self) -> str:
        """Show streams and workers."""
        where = f"in {self.run_dir}" if self._supervisor else "(not started)"
        return f"<LocalStack {', '.join(self.spec.streams)} with {several(self.workers, 'worker')} {where}>"

    def __enter__(self) -> Self:
        """Start everything; return when the sources are listed."""
        self._pid = os.getpid()
        # Absolute, like the roots below: a service may be started again after this process changed its folder.
        self.run_dir = (self._given_dir or Path(tempfile.mkdtemp(prefix="penstock-"))).absolute()
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        self.stop()

    @property
    def address(self) -> str:
        """The sink's address for trainers. Raises StackError before the stack is started."""
        if self._supervisor is None:
            raise StackError("the stack is not running: enter it first, `with penstock.local(...) as stack:`")
        return self.addresses.trainers

    @property
    def dashboard(self) -> str:
        """The page's address for browsers; empty: there is none, or the stack is not started."""
        return self._page.url

    @property
    def quarantine(self) -> Path:
        """The quarantine ledger."""
        return self.run_dir / "quarantine.jsonl"

    @property
    def children(self) -> dict[str, Child]:
        """The supervised processes by name: `ventilator`, `sink`, `worker-0` and so on."""
        return self._supervisor.children if self._supervisor else {}

    def feed(
        self,
        stream: str = "train",
        *,
        rank: int = 0,
        world_size: int = 1,
        prefetch: int | None = None,
        timeout_s: float = 120.0,
    ) -> Feed:
        """Return a feed of one of the stack's streams; if the stack gives up, the feed raises the reason."""
        if stream not in self.spec.streams:
            raise SpecError(f"no stream {stream!r} in the spec; there are: {', '.join(self.spec.streams)}")
        feed = Feed(
            self.address,
            stream,
            rank=rank,
            world_size=world_size,
            prefetch=prefetch,
            timeout_s=timeout_s,
            keys=self._keys,
        )
        if self._pid != os.getpid():  # a forked process's feed: that process closes it
            return feed
        with self._lock:
            self._feeds.add(feed)
        if self.error is not None:  # it gave up before it knew of this one
            feed.fail(self.error)
        return feed

    def scale(self, workers: int) -> None:
        """Run this many workers from now on: start more, or drain the newest. Raises StackError in a forked process."""
        if self._pid != os.getpid():
            raise StackError(
                f"{self!r} is run by process {self._pid}, and this is {os.getpid()}, forked from it: scale it there"
            )
        assert self._supervisor, "the stack is not running"  # noqa: S101
        for number in range(self.workers, workers):
            self._add(f"worker-{number}")
        for number in range(workers, self.workers):
            self._supervisor.remove(f"worker-{number}")
        self.workers = workers

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what each service answers at /healthz; `{"ready": False, "why": …}` from one that does not."""
        return {name: query(self._health(name)) for name in list(self.children)}

    def snapshot(self) -> Snapshot:
        """Return how the whole stack stands, as the ventilator saw it within the last second: verdict, rates, workers.

        Raises StackError if the ventilator does not answer.
        """
        try:
            return Snapshot.model_validate_json(fetch(self._health("ventilator"), "/status", _ANSWER_S)[1])
        except (OSError, HTTPException, ValidationError) as error:
            raise StackError(f"the ventilator does not say how it goes: {error}") from error

    def metrics(self) -> dict[str, str]:
        """Return what each service answers at /metrics, in Prometheus's format; empty from one that does not."""
        found = {}
        for name in list(self.children):
            try:
                found[name] = fetch(self._health(name), "/metrics")[1].decode()
            except (OSError, HTTPException):
                found[name] = ""
        return found

    def stop(self) -> None:
        """Close the feeds, stop every process, remove sockets and a temporary run folder.

        Does nothing in a forked process, at the end of its `with` block and at its exit included: the stack is its
        parent's.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            feeds = list(self._feeds)
        for feed in feeds:
            feed.close()
        if self._supervisor:
            self._supervisor.stop(first="worker")
        self._given.close()
        if self._given_dir is None:
            shutil.rmtree(self.run_dir, ignore_errors=True)
        else:
            for left in self.run_dir.glob("*.health"):
                discard(str(left))
        for address in self._bound:
            discard(address.removeprefix("ipc://"))

    def _start(self) -> None:
        self.run_dir.mkdir(parents=True, exist_ok=True)
        self.addresses = self._addresses or Addresses.in_folder(self.run_dir)
        for address in astuple(self.addresses):
            check_address(address)
        self._page = lay_out(self._page_options, self.run_dir)
        self._bound = tuple(address for address in astuple(self.addresses) if address.startswith("ipc://"))
        self._roots |= self._given.write(self.run_dir / "given", self.spec.roots | self._roots)
        (self.run_dir / "spec.json").write_text(self.spec.model_dump_json(), encoding="utf-8")
        self._supervisor = Supervisor(self._gave_up, None if self._inherit_logs else self.run_dir)
        names = ["ventilator", "sink", *(f"worker-{number}" for number in range(self.workers))]
        for name in names:
            self._add(name)
        self._supervisor.wait(
            lambda: bool(query(self._health("ventilator")).get("ready")), _START_S, "the ventilator to list the sources"
        )

    def _add(self, name: str) -> None:
        assert self._supervisor  # noqa: S101 - both callers have one
        self._given_names[name] += 1
        self._supervisor.add(name, self._command(name.partition("-")[0], name))

    def _health(self, name: str) -> str:
        times = self._given_names[name]
        return str(self.run_dir / (f"{name}.health" if times <= 1 else f"{name}.{times}.health"))

    def _command(self, service: str, name: str) -> list[str]:
        known: dict[str, Any] = {"health": self._health(name), "parent": os.getpid(), "keys": self._keys}
        match service:
            case "ventilator":
                known |= {
                    "spec": str(self.run_dir / "spec.json"),
                    "bind": self.addresses.ventilator,
                    "root": self._roots,
                    **self._page.settings,
                }
            case "sink":
                known |= {"ventilator": self.addresses.ventilator, "results": self.addresses.results}
                known |= {"bind": self.addresses.trainers, "quarantine": str(self.quarantine)}
            case _:
                # No roots: a worker that is given any is confined to them, and those of the ventilator are this host's.
                known |= {"ventilator": self.addresses.ventilator}
        known |= self._options.get(service, {})
        return service_command(service, known)

    def _gave_up(self, name: str, why: str) -> None:
        self.error = StackError(f"{name} {why}")
        with self._lock:
            feeds = list(self._feeds)
        for feed in feeds:
            feed.fail(self.error)


def _as_spec(spec: str | Path | Mapping[str, Any] | Spec) -> Spec:
    if isinstance(spec, Spec):
        return spec
    return parse_spec(spec) if isinstance(spec, Mapping) else load_spec(spec)
