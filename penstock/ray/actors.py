"""The actors of a stack: one with ventilator and sink, which also keeps the workers' actors, and those of the workers.

Services are processes of their own, supervised by their actor, and end with it.
"""

import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.launcher.service_command import service_command, services_for_all
from penstock.launcher.supervisor import Supervisor, start_command
from penstock.observe.status_client import Onlooker
from penstock.protocol.errors import PenstockError, StackError
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.transport.own_files import open_own
from penstock.ray.settings import StackSettings, TrainerSettings, WorkerSettings
from penstock.trainer.adapters.frameworks import import_framework

#: Ray has no types of its own that would say more.
ray: Any = import_framework("ray", "Ray", "pip install 'penstock[ray]'")

#: Seconds that a worker may take to drain, and then to be gone.
_DRAIN_S, _GONE_S = 20.0, 10.0
#: Seconds that processes of a killed actor may take to give their ports free.
_FREE_S = 30.0
#: How often the wanted number of workers is asked for (s), and how long an answer may take.
_ASK_S, _ANSWER_S = 1.0, 10.0
_LOOK_S = 0.1


class Processes:
    """Services of one actor, in a folder of their own."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        """Write the key bundles; start nothing."""
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-ray-"))
        self.failure = ""
        for role, text in keys.items():
            with open_own(self.keys(role), "w", encoding="ascii") as file:
                file.write(text)
        self._supervisor = Supervisor(self._fail, self.folder, start_command)

    def keys(self, role: str) -> str:
        """Return the path of a role's bundle."""
        return str(self.folder / f"{role}.keys")

    def add(self, name: str, service: str, settings: Mapping[str, Any]) -> None:
        """Start a service with its keys."""
        common = {"keys": self.keys(service), "health": ""}
        self._supervisor.add(name, service_command(service, {**common, **settings}))

    def drain(self) -> None:
        """Let all services finish what they have begun, and end; return when they have."""
        self._supervisor.drain(_DRAIN_S)

    def stop(self) -> None:
        """End all services, and remove the folder."""
        self._supervisor.stop(first="sink")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _fail(self, name: str, why: str) -> None:
        self.failure = f"{name} {why}"


class WorkerActor:
    """Workers of one node, a processor each."""

    def __init__(self, settings: WorkerSettings) -> None:
        """Start them."""
        self._processes = Processes({"worker": settings.keys})
        own = {"ventilator": settings.ventilator, "drain_s": _DRAIN_S - 2}
        for number in range(settings.count):
            cache = {"cache": settings.cache} if settings.cache else {}
            self._processes.add(f"worker-{number}", "worker", own | cache)

    def failure(self) -> str:
        """Return why a worker cannot run, or nothing."""
        return self._processes.failure

    def drain(self) -> None:
        """Let them finish what they have begun; return when they have left."""
        self._processes.drain()
        self._processes.stop()


class StackActor:
    """Ventilator and sink, and the actors of the workers. Its methods may be called side by side."""

    def __init__(self, settings: StackSettings) -> None:
        """Start the services, the least workers, and the thread that follows the need. Raises StackError."""
        self._settings = settings
        for address in (settings.ventilator, settings.results, settings.trainers):
            _wait_until_free(address)
        self._processes = Processes(settings.keys)
        self._start_services()
        self._lock = threading.Lock()
        #: The workers' actors, the oldest first, each with a call that returns when it runs.
        self._workers: list[tuple[Any, Any]] = []
        #: Those that drain: the call, and when they are killed (monotonic s).
        self._leaving: list[tuple[Any, Any, float]] = []
        self._stopping = False
        self._wanted = settings.workers[0]
        self._thread = threading.Thread(target=self._follow, name="penstock ray workers", daemon=True)
        self._thread.start()

    def trainer(self) -> TrainerSettings:
        """Return what a trainer needs to connect."""
        return TrainerSettings(self._settings.trainers, self._settings.keys["trainer"])

    def snapshot(self) -> Snapshot:
        """Return the state of the stack. Raises DeadlineError, and StackError if a service cannot run."""
        if self._processes.failure:
            raise StackError(self._processes.failure)
        with Onlooker(self._settings.ventilator, self._processes.keys("trainer"), _ANSWER_S) as onlooker:
            return onlooker.look(0)

    def log(self, name: str) -> str:
        """Return the log of a service of this actor, `ventilator` or `sink`."""
        return (self._processes.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    def scale(self, workers: int) -> None:
        """Keep this many workers."""
        self._wanted = workers

    def failure(self) -> str:
        """Return why a service cannot run, or nothing."""
        return self._processes.failure

    def stop(self) -> None:
        """End the workers, then the services."""
        self._stopping = True
        self._thread.join(_ANSWER_S + _ASK_S)
        with self._lock:
            calls = [actor.drain.remote() for actor, ready in self._workers if _is_done(ready)]
            ray.wait(calls, num_returns=len(calls), timeout=_DRAIN_S + _GONE_S) if calls else None
            for actor, _ in self._workers:
                ray.kill(actor)
            self._workers = []
        self._processes.stop()

    def _start_services(self) -> None:
        given, processes = self._settings, self._processes
        spec = processes.folder / "spec.json"
        with open_own(spec, "w", encoding="utf-8") as file:
            file.write(given.spec)
        least, most = given.workers
        ventilator, sink = services_for_all(given.ventilator, given.results, given.trainers)
        ventilator |= {"spec": str(spec), "root": dict(given.roots)}
        if most:
            ventilator |= {"workers_least": least, "workers_most": most}
        processes.add("ventilator", "ventilator", ventilator)
        processes.add("sink", "sink", sink)

    def _follow(self) -> None:
        """Keep as many workers as are wanted, until the stack stops."""
        least, most = self._settings.workers
        self._set_workers(self._wanted)
        while not self._stopping:
            time.sleep(_ASK_S)
            if least != most:
                with suppress(PenstockError):  # the ventilator starts, or is busy: the workers stay
                    wanted = self.snapshot().scaling.wanted
                    self._wanted = self._wanted if wanted is None else max(least, min(most, wanted))
            self._set_workers(self._wanted)

    def _set_workers(self, workers: int) -> None:
        """Ask for actors, or let some go: those that wait for a node first, then the youngest."""
        given = self._settings
        actors = -(-workers // given.workers_per_actor)
        with self._lock:
            if self._stopping:
                return
            own = WorkerSettings(given.ventilator, given.keys["worker"], given.workers_per_actor, given.cache)
            while len(self._workers) < actors:
                options = {"num_cpus": given.workers_per_actor, "max_restarts": -1, "scheduling_strategy": "SPREAD"}
                actor = ray.remote(WorkerActor).options(**options).remote(own)
                self._workers.append((actor, actor.failure.remote()))
            surplus = len(self._workers) - actors
            youngest = list(reversed(self._workers))
            going = sorted(youngest, key=lambda each: _is_done(each[1]))[: max(0, surplus)]
            for actor, ready in going:
                self._workers.remove((actor, ready))
                if _is_done(ready):
                    self._leaving.append((actor, actor.drain.remote(), time.monotonic() + _DRAIN_S + _GONE_S))
                else:
                    ray.kill(actor)
            for each in list(self._leaving):
                actor, call, deadline = each
                if _is_done(call) or time.monotonic() > deadline:
                    ray.kill(actor)
                    self._leaving.remove(each)


def _is_done(call: Any) -> bool:  # noqa: ANN401 - Ray's
    done, _ = ray.wait([call], timeout=0)
    return bool(done)


def _wait_until_free(address: str) -> None:
    """Wait until a port can be bound: the processes of a killed actor take a moment to notice. Raises StackError."""
    port = int(address.rpartition(":")[2])
    deadline = time.monotonic() + _FREE_S
    while True:
        try:
            with socket.create_server(("", port)):
                return
        except OSError as error:
            if time.monotonic() > deadline:
                raise StackError(f"port {port} is not free: {error.strerror}") from error
            time.sleep(_LOOK_S)
