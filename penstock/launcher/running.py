"""The resources of one start of a stack: processes, run folder, sockets and memory. `stack.py` has their settings."""

import os
import shutil
import tempfile
import weakref
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http.client import HTTPException
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from penstock.launcher.addresses import Addresses
from penstock.launcher.dashboard_options import DashboardPlan
from penstock.launcher.forked import FirstBatch, ForkServer
from penstock.launcher.in_memory_sources import Given
from penstock.launcher.local_sinks import sink_names
from penstock.launcher.service_command import STANDBY, service_command
from penstock.launcher.spare import can_fork
from penstock.launcher.supervisor import Supervisor, start_command
from penstock.protocol.errors import StackError
from penstock.protocol.runtime.cores import usable_cores
from penstock.protocol.runtime.health import fetch, query
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.spec.spec import Spec
from penstock.protocol.transport.addresses import check_address
from penstock.protocol.transport.own_files import make_own_folder, open_own
from penstock.protocol.transport.unix_sockets import discard

#: Seconds that the ventilator may take to list its sources.
_START_S = 300.0
#: Longest that `snapshot` waits for the ventilator (s): on a busy machine it may stand still for some seconds.
_ANSWER_S = 10.0


class Running:
    """Everything that must be released when a stack stops. It holds no reference to the stack."""

    def __init__(
        self, folder: Path | None, addresses: Addresses | None, given: Given, sinks: int = 1, *, standby: bool = False
    ) -> None:
        """Make the run folder, a temporary one unless `folder` is given. Raises SpecError for addresses."""
        #: Workers beyond one a core begin after it.
        self.first_batch = FirstBatch()
        self._pid, self._given, self._sinks = os.getpid(), given, sinks
        self._ventilators = ["ventilator", *([STANDBY] if standby else [])]
        self._is_temporary = folder is None
        #: Absolute: a service may be started again after this process changed its folder.
        self.folder = (folder or Path(tempfile.mkdtemp(prefix="penstock-"))).absolute()
        #: No more processes run.
        self.stopped = False
        #: Settings of each service, and of each of several sinks.
        self.settings: Mapping[str, Mapping[str, Any]] = {}
        self.supervisor: Supervisor | None = None
        self._forks: ForkServer | None = None
        #: How often each name was given to a process: its predecessor may still drain, and answer at /healthz.
        self._names: Counter[str] = Counter()
        self.addresses = addresses or Addresses.in_folder(self.folder)
        #: Sockets that are removed in the end.
        self._bound: tuple[str, ...] = ()

    def open(self, gave_up: "weakref.WeakMethod[Callable[[str, str], None]]", *, keep_logs: bool) -> Supervisor:
        """Begin to supervise; `gave_up` is called as by `Supervisor`. Raises SpecError for an address.

        The reference is weak because the supervisor's thread holds it, and a forgotten stack must be collected.
        """

        def tell(name: str, why: str) -> None:
            if (method := gave_up()) is not None:
                method(name, why)

        make_own_folder(self.folder)
        addresses = self.addresses.of_all(self._sinks, standby=len(self._ventilators) > 1)
        for address in addresses:
            check_address(address)
        self._bound = tuple(each for each in addresses if each.startswith("ipc://"))
        self._forks = ForkServer() if can_fork() else None
        start = self._forks.start if self._forks else start_command
        self.supervisor = Supervisor(tell, self.folder if keep_logs else None, start)
        return self.supervisor

    def settings_of_ventilators(
        self, own: Mapping[str, Any], pages: Sequence[DashboardPlan]
    ) -> dict[str, Mapping[str, Any]]:
        """Return the settings of the ventilator, or of two that share a folder in the run folder, each with a page."""
        if len(self._ventilators) == 1:
            return {"ventilator": {**own, **pages[0].settings}}
        make_own_folder(shared := self.folder / "standby")
        both = {**own, "standby": str(shared)}
        other = {**both, "bind": self.addresses.standby, **pages[1].settings}
        return {"ventilator": {**both, **pages[0].settings}, STANDBY: other}

    def write(self, spec: Spec) -> str:
        """Write the spec for the ventilator; return the file's path."""
        path = self.folder / "spec.json"
        with open_own(path, "w", encoding="utf-8") as file:
            file.write(spec.model_dump_json())
        return str(path)

    def begin(self, workers: int) -> None:
        """Start all services, with `settings`. Raises StackError."""
        for name in (*self._ventilators, *sink_names(self._sinks)):
            self.add(name)
        self.scale(workers)

    def add(self, name: str, *, late: bool = False) -> None:
        """Start a process: `ventilator`, `sink`, `sink-` or `worker-` and a number. Raises StackError.

        One that is `late` begins after the first batch, where services are forked.
        """
        assert self.supervisor  # noqa: S101 - `open` made it
        self._names[name] += 1
        service = name.partition("-")[0]
        own = self.settings[name] if name in self.settings else self.settings[service]
        known = {"health": self.health(name), **own}
        start = partial(self._forks.start, after=self.first_batch) if self._forks and late else None
        try:
            self.supervisor.add(name, service_command(service, known), start)
        except OSError as error:
            raise StackError(
                f"{name} cannot be started: {error}; allow more processes and open files, or start fewer workers"
            ) from error

    @property
    def workers(self) -> int:
        """How many workers are kept running."""
        return sum(name.startswith("worker-") for name in self._processes())

    def scale(self, workers: int) -> None:
        """Keep this many workers running: start more, or drain the newest. Raises StackError."""
        assert self.supervisor  # noqa: S101 - `open` made it
        cores = len(usable_cores())
        for number in range(self.workers, workers):
            self.add(f"worker-{number}", late=number >= cores)
        for number in range(workers, self.workers):
            self.supervisor.remove(f"worker-{number}")

    def health(self, name: str) -> str:
        """Return the path of the health socket of the process that has this name now."""
        times = self._names[name]
        return str(self.folder / (f"{name}.health" if times <= 1 else f"{name}.{times}.health"))

    def wait_until_listed(self) -> list[str]:
        """Wait until the sources are listed; return warnings about them. Raises StackError and DeadlineError."""
        assert self.supervisor  # noqa: S101 - `open` made it
        told: dict[str, Any] = {}

        def is_ready() -> bool:
            told.update(query(self.health("ventilator")))
            return bool(told.get("ready"))

        self.supervisor.wait(is_ready, _START_S, "the ventilator to list the sources", self._appears())
        return list(told.get("warnings") or ())

    def _appears(self) -> Callable[[], bool]:
        """Return what tells that the ventilator's socket has appeared: it binds that once the sources are listed."""
        path = self.addresses.ventilator.removeprefix("ipc://")
        if not path.startswith("/") or os.path.exists(path):  # noqa: PTH110 - asked often
            return lambda: False
        return lambda: os.path.exists(path)  # noqa: PTH110

    def status(self) -> dict[str, dict[str, Any]]:
        """Return what each service answers at /healthz; `{"ready": False, "why": …}` from one that does not."""
        return {name: query(self.health(name)) for name in self._processes()}

    def snapshot(self) -> Snapshot:
        """Return the snapshot of the ventilator that acts. Raises StackError if it does not answer."""
        found: Snapshot | None = None
        why: Exception | None = None
        for name in self._ventilators:
            try:
                seen = Snapshot.model_validate_json(fetch(self.health(name), "/status", _ANSWER_S)[1])
            except (OSError, HTTPException, ValidationError) as error:
                why = error
            else:
                found = seen if found is None or (seen.standby and seen.standby.acting) else found
        if found is None:
            raise StackError(f"the ventilator does not say how it goes: {why}") from why
        return found

    def metrics(self) -> dict[str, str]:
        """Return what each service answers at /metrics; empty from one that does not."""
        found = {}
        for name in self._processes():
            try:
                found[name] = fetch(self.health(name), "/metrics")[1].decode()
            except (OSError, HTTPException):
                found[name] = ""
        return found

    def _processes(self) -> list[str]:
        return list(self.supervisor.children) if self.supervisor else []

    def stop(self) -> None:
        """Stop every process, remove sockets and a temporary run folder; does nothing in a forked process."""
        if self._pid != os.getpid():
            return
        if self.supervisor:
            self.supervisor.stop(first="worker")
        if self._forks:
            self._forks.close()
        self._given.close()
        if self._is_temporary:
            shutil.rmtree(self.folder, ignore_errors=True)
        else:
            for left in self.folder.glob("*.health"):
                discard(str(left))
        for address in self._bound:
            discard(address.removeprefix("ipc://"))
        self.stopped = True
