"""The embedded launcher: a whole stack as supervised processes on this machine.

Starts, restarts and stops processes, and manages the run folder. Every service reconnects by itself, so the order of
starts and restarts does not matter.
"""

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path
from typing import Any, Self

from penstock.launcher.addresses import STANDBY_PORTS, Addresses
from penstock.launcher.arguments import check_stack, check_stream
from penstock.launcher.dashboard_options import DashboardOptions, DashboardPlan, lay_out
from penstock.launcher.in_memory_sources import Given
from penstock.launcher.links import follow_links
from penstock.launcher.local_sinks import check_sinks, sink_of_rank, sink_settings
from penstock.launcher.missing_features import missing_features
from penstock.launcher.notebook import stack_html
from penstock.launcher.running import Running
from penstock.launcher.service_command import settings_of_services
from penstock.launcher.supervisor import Child, Supervisor
from penstock.launcher.worker_count import WorkerCount, Workers, follow_ventilator
from penstock.protocol.errors import PenstockError, StackError
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.spec.roots import absolute_root
from penstock.protocol.spec.spec import Spec, as_spec
from penstock.protocol.transport.keys import given_keys
from penstock.terminal.words import several
from penstock.trainer.client.feed import Feed
from penstock.trainer.client.ranks import find_local_rank

__all__ = ["Addresses", "LocalStack"]

#: Stacks that `start` began, by their streams, roots and run folder: starting the same again replaces the older one.
_STARTED: "weakref.WeakValueDictionary[Hashable, LocalStack]" = weakref.WeakValueDictionary()


class LocalStack:
    """Ventilator, sink and workers on this machine; a context manager. Made by `penstock.local` and `penstock up`."""

    def __init__(  # noqa: PLR0913 - by keyword, each with a default
        self,
        spec: str | Path | Mapping[str, Any] | Spec,
        *,
        workers: Workers | None = None,
        sinks: int = 1,
        standby: bool = False,
        roots: Mapping[str, str | os.PathLike[str]] | None = None,
        run_dir: str | Path | None = None,
        addresses: Addresses | None = None,
        options: Mapping[str, Mapping[str, Any]] | None = None,
        inherit_logs: bool = False,
        keys: str | Path | None = None,
        dashboard: str | DashboardOptions = "",
        warn: Callable[[str], object] | None = None,
    ) -> None:
        """Check the spec; start nothing yet. `options` are extra settings by service, as in {"worker": {"slots": 4}}.

        `warn` gets warnings about the sources; default: they become Python's warnings. `keys` is a key folder with all
        four roles; default: PENSTOCK_KEYS, or none: its own sockets are in a folder of its own. `dashboard` is
        host:port of the page, "auto" for a port of loopback, or empty for none. Several `sinks` share each stream;
        a `standby` is a second ventilator that takes over when the first one ends. Raises SpecError.
        """
        page = dashboard if isinstance(dashboard, DashboardOptions) else DashboardOptions(dashboard)
        check_stack(roots, {"run_dir": run_dir, "keys": keys}, page.address)
        self._given = Given()
        self.spec = as_spec(self._given.extract(spec) if isinstance(spec, Mapping) else spec)
        self._count, self._sinks, self._standby = WorkerCount.of(workers), check_sinks(sinks), standby
        #: How many workers are to run now.
        self.workers = self._count.first
        #: The error that stopped the stack; None while it is well.
        self.error: PenstockError | None = None
        self._roots = {name: absolute_root(str(root), Path.cwd()) for name, root in (roots or {}).items()}
        self.spec.map_roots(self._roots)
        self._given_dir = Path(run_dir) if run_dir else None
        self._addresses = addresses
        self._options = {name: dict(values) for name, values in (options or {}).items()}
        self._inherit_logs = inherit_logs
        self._keys = given_keys(keys)
        self._page_options, self._pages = page, list[DashboardPlan]()
        self._feeds: weakref.WeakSet[Feed] = weakref.WeakSet()
        #: Held while the set of feeds is used; the collector may stop a stack on the thread that holds it.
        self._lock = threading.RLock()
        self._warn = warn
        self._pid = os.getpid()  # of the process that runs the stack
        self._run: Running | None = None
        self._supervisor: Supervisor | None = None
        #: Stops what runs once nothing refers to the stack, or at the interpreter's exit.
        self._stop: Callable[[], object] = lambda: None
        self.run_dir = self._given_dir or Path()

    def __repr__(self) -> str:
        """Show streams, workers, and whether the stack runs."""
        return f"<LocalStack {', '.join(self.spec.streams)} with {several(self.workers, 'worker')}: {self.state}>"

    def _repr_html_(self) -> str:
        """Show the verdict and the progress of the streams in a notebook."""
        return stack_html(self)

    def __enter__(self) -> Self:
        """Start everything, unless it runs; return when the sources are listed."""
        if not self.running:
            self._begin()
        return self

    def start(self) -> Self:
        """Start everything and return the stack when the sources are listed, as `with` does, for notebooks.

        It runs until `stop`, or until nothing refers to it or its feeds any more, or the program ends. Starting a stack
        of the same streams, roots and run folder again replaces the one that was started before: its feeds are closed.
        Does nothing if the stack runs. Raises SpecError, SourceError or StackError if it cannot start.
        """
        if not self.running:
            key = (tuple(self.spec.streams), tuple(sorted((self.spec.roots | self._roots).items())), self._given_dir)
            if (older := _STARTED.get(key)) is not None:
                older.stop()
            self._begin()
            _STARTED[key] = self
        return self

    @property
    def running(self) -> bool:
        """Whether the stack is started and not stopped; see `error` for one that gave up."""
        return self._run is not None and not self._run.stopped

    @property
    def state(self) -> str:
        """Whether the stack runs, in a few words."""
        if self._run is None:
            return "not started"
        if self._run.stopped:
            return "stopped"
        return f"gave up: {self.error}" if self.error else f"running in {self.run_dir}"

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        self.stop()

    @property
    def address(self) -> str:
        """The sink's address for trainers; of several, the first one's. Raises StackError before the start."""
        return self._address_for(0, 1)

    def _address_for(self, rank: int, world_size: int) -> str:
        run = self._started()
        if run.stopped:
            raise StackError(f"{self!r}: start it again, by `with` or `stack.start()`")
        return run.addresses.of_sink(sink_of_rank(rank, world_size, self._sinks)).trainers

    @property
    def addresses(self) -> Addresses:
        """The services' addresses. Raises StackError before the first start."""
        return self._started().addresses

    @property
    def dashboard(self) -> str:
        """The page's address for browsers; empty: there is none, or the stack is not started."""
        return next(iter(self.dashboards), "")

    @property
    def dashboards(self) -> list[str]:
        """The addresses of all pages: with a standby, each ventilator has one."""
        return [page.url for page in self._pages if page.url]

    @property
    def quarantine(self) -> Path:
        """The quarantine ledger."""
        return self.run_dir / "quarantine.jsonl"

    @property
    def children(self) -> dict[str, Child]:
        """The supervised processes by name: `ventilator`, `sink` (of several, `sink-0`…), `worker-0` and so on."""
        return self._supervisor.children if self._supervisor else {}

    def feed(
        self,
        stream: str = "train",
        *,
        rank: int | None = None,
        world_size: int | None = None,
        prefetch: int | None = None,
        timeout_s: float = 120.0,
        copy: bool = True,
    ) -> Feed:
        """Return a feed of a stream, `copy` as for `connect`; if the stack gives up, the feed raises the reason."""
        place = find_local_rank(rank, world_size)
        check_stream(stream, self.spec.streams)
        address = self._address_for(place.rank, place.world_size)
        options: dict[str, Any] = {"rank": place.rank, "world_size": place.world_size, "copy": copy}
        feed = Feed(address, stream, **options, prefetch=prefetch, timeout_s=timeout_s, keys=self._keys)
        feed.owner = self  # the stack runs as long as one of its feeds is held
        feed.call_at_first_batch(self._started().first_batch.came)
        if self._pid != os.getpid():  # a forked process's feed: that process closes it
            return feed
        with self._lock:
            self._feeds.add(feed)
        if self.error is not None:  # it gave up before it knew of this one
            feed.fail(self.error)
        return feed

    def scale(self, workers: int) -> None:
        """Run this many workers from now on: start more, or drain the newest.

        Raises StackError if the stack does not run, or scales by itself.
        """
        if self._count.bounds:
            raise StackError(f"{self!r} scales by itself: start it with a number of workers to scale it by hand")
        self._scale(workers)

    def _scale(self, workers: int) -> None:
        if self._pid != os.getpid():
            raise StackError(f"{self!r} is run by process {self._pid}, this one is forked from it: scale it there")
        if not self.running:
            raise StackError(f"{self!r} cannot be scaled: start it first")
        run = self._started()
        try:
            run.scale(workers)
        finally:
            self.workers = run.workers

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what each service answers at /healthz; `{"ready": False, "why": …}` from one that does not."""
        return self._started().status()

    def snapshot(self) -> Snapshot:
        """Return the ventilator's last snapshot of the whole stack. Raises StackError if it does not answer."""
        return self._started().snapshot()

    def metrics(self) -> dict[str, str]:
        """Return what each service answers at /metrics, in Prometheus's format; empty from one that does not."""
        return self._started().metrics()

    def stop(self) -> None:
        """Close the feeds, stop every process, remove sockets and a temporary run folder.

        It can be started again. Does nothing in a forked process, at the end of its `with` block and at its exit
        included: the stack is its parent's.
        """
        if self._pid != os.getpid():
            return
        with self._lock:
            feeds = list(self._feeds)
        for feed in feeds:
            feed.close()
        self._stop()

    def _begin(self) -> None:
        """Start everything. Raises SpecError, SourceError and StackError."""
        self._pid, self.error = os.getpid(), None
        self._run = run = Running(self._given_dir, self._addresses, self._given, self._sinks, standby=self._standby)
        self._stop, self.run_dir = weakref.finalize(self, run.stop), run.folder
        try:
            self._supervisor = run.open(weakref.WeakMethod(self._gave_up), keep_logs=not self._inherit_logs)
            self._pages = lay_out(self._page_options, self.run_dir, (0, STANDBY_PORTS) if self._standby else (0,))
            for text in [*missing_features(), *self._start()]:
                (self._warn or _warn)(text)
        except BaseException:
            self.stop()
            raise

    def _start(self) -> list[str]:
        """Start the services and wait until the sources are listed; return warnings about them."""
        self._roots |= self._given.write(self.run_dir / "given", self.spec.roots | self._roots)
        spec, run = self.spec, self._started()
        if self.addresses.is_one_host:
            spec = follow_links(spec, spec.roots | self._roots)
        ventilator = {"spec": run.write(spec), "root": self._roots, **self._count.settings}
        ventilators = run.settings_of_ventilators(ventilator, self._pages)
        own = {**ventilators, **sink_settings(self._sinks, self.addresses, self.quarantine)}
        run.settings = settings_of_services(self.addresses, {"keys": self._keys}, own, self._options)
        run.begin(self.workers)
        if self._count.bounds:
            follow_ventilator(run, weakref.WeakMethod(self._scale))
        return run.wait_until_listed()

    def _started(self) -> Running:
        if self._run is None:
            raise StackError(f"{self!r}: start it first, by `with penstock.local(...) as stack:` or `stack.start()`")
        return self._run

    def _gave_up(self, name: str, why: str) -> None:
        self.error = StackError(f"{name} {why}")
        with self._lock:
            feeds = list(self._feeds)
        for feed in feeds:
            feed.fail(self.error)


def _warn(text: str) -> None:
    warnings.warn(text, stacklevel=4)  # where the program starts the stack
