"""The actor of a stack: it runs the ventilator, and the sink of a stack with one, and keeps the actors of all others.

It is bound to the node of the program that starts the stack, whose end is the job's, and reserves no processor, so that
it fits on a head node without any.
"""

import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from penstock.launcher.service_command import services_for_all
from penstock.observe.status_client import Onlooker
from penstock.protocol.errors import PenstockError, StackError
from penstock.protocol.runtime.printable import try_to_say
from penstock.protocol.snapshot import Snapshot
from penstock.protocol.transport.own_files import open_own, write_whole
from penstock.ray.api import last_words, session_folder
from penstock.ray.processes import Processes, wait_until_free
from penstock.ray.settings import Reading, StackSettings, TrainerSettings
from penstock.ray.sinks import SinkActors
from penstock.ray.workers import WorkerActors

#: How often the wanted number of workers is asked for (s), and how long an answer may take.
_ASK_S, _ANSWER_S = 1.0, 10.0


class Kept:
    """The number of workers, in a file on the node of the stack's actor, which reads it when Ray starts it again."""

    def __init__(self, path: Path) -> None:
        """Read and write nothing."""
        self.path = path

    def read(self, otherwise: int) -> int:
        """Return the number, or another one where none was written."""
        try:
            return int(self.path.read_text(encoding="ascii"))
        except FileNotFoundError:
            return otherwise

    def write(self, workers: int) -> None:
        """Keep the number. Raises OSError."""
        write_whole(self.path, str(workers))

    def forget(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


class StackActor:
    """Ventilator, sink, and the actors of workers and further sinks. Its methods may be called side by side."""

    def __init__(self, settings: StackSettings) -> None:
        """Start the services, the least workers, and the thread that follows the need. Raises StackError."""
        self._settings = settings
        addresses = [settings.ventilator, *([settings.results, settings.trainers] if settings.sinks == 1 else [])]
        for address in addresses:
            wait_until_free(address)
        self._processes = Processes(settings.keys, "stack")
        self._start_services()
        self._sinks = SinkActors(settings) if settings.sinks != 1 else None
        self._workers = WorkerActors(settings)
        self._stopping = False
        self._kept = Kept(session_folder() / f"penstock-{settings.token}.workers")
        self._wanted = self._kept.read(settings.workers[0])
        self._thread = threading.Thread(target=self._follow, name="penstock ray workers", daemon=True)
        self._thread.start()

    def trainer(self) -> TrainerSettings:
        """Return what a trainer of a stack with one sink needs to connect."""
        return TrainerSettings(self._settings.trainers, self._settings.keys["trainer"])

    def sink(self, reading: Reading) -> Any:  # noqa: ANN401 - Ray's
        """Return the actor of the sink that serves a rank, or None: this one does. Raises StackError."""
        return self._sinks.of(reading) if self._sinks else None

    def snapshot(self) -> Snapshot:
        """Return the state of the stack. Raises DeadlineError, and StackError if a service cannot run."""
        if self._processes.failure:
            raise StackError(self._processes.failure)
        with Onlooker(self._settings.ventilator, self._processes.keys("trainer"), _ANSWER_S) as onlooker:
            return onlooker.look(0)

    def scale(self, workers: int) -> None:
        """Keep this many workers."""
        self._want(workers)

    def failure(self) -> str:
        """Return why a service, or lately a worker, cannot run, or nothing."""
        return self._processes.failure or self._workers.failure

    def service_failure(self) -> str:
        """Return why a service cannot run, or nothing: the workers of one node do not keep a stack from starting."""
        return self._processes.failure

    def stop(self) -> None:
        """End the workers, then the services."""
        self._stopping = True
        self._thread.join(_ANSWER_S + _ASK_S)
        self._workers.stop()
        if self._sinks:
            self._sinks.stop(_ANSWER_S)
        self._processes.stop()
        self._kept.forget()

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
        if given.sinks == 1:
            processes.add("sink", "sink", sink)

    def _follow(self) -> None:
        """Keep as many workers as are wanted, until the stack stops."""
        said = ""
        while not self._stopping:
            try:
                self._turn()
                said = ""
            except Exception as error:  # noqa: BLE001 - Ray's have no common base, and the workers must not be forgotten
                words = f"{type(error).__name__}: {last_words(error)}"
                if words != said:
                    try_to_say(f"penstock ray: the workers stay as they are for now: {words}")
                said = words
            time.sleep(_ASK_S)

    def _turn(self) -> None:
        least, most = self._settings.workers
        if least != most:
            with suppress(PenstockError):  # the ventilator starts, or is busy: the workers stay
                wanted = self.snapshot().scaling.wanted
                self._want(self._wanted if wanted is None else max(least, min(most, wanted)))
        self._workers.set(self._wanted)
        if self._sinks:
            self._sinks.forget_lost()

    def _want(self, workers: int) -> None:
        if workers != self._wanted:
            self._wanted = workers
            try:
                self._kept.write(workers)
            except OSError as error:
                place = f"cannot be kept in {self._kept.path}: {error.strerror}"
                lost = "if Ray starts this actor again, it begins with an earlier number"
                try_to_say(f"penstock ray: the number of workers, {workers}, {place}; {lost}: make room there")
