"""Services as processes of an actor: supervised by it, with keys in a folder of their own, ended with it.

Their logs lie where Ray keeps its own, below `penstock/`: `ray logs` and the dashboard show them, and they stay.
"""

import shutil
import socket
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.launcher.service_command import service_command
from penstock.launcher.supervisor import Supervisor, start_command
from penstock.protocol.errors import StackError
from penstock.protocol.transport.own_files import make_own_folder, open_own
from penstock.ray.api import ray, session_folder

#: Ports of which services take some: below those that kernels give to programs that ask for any.
PORTS = range(20_000, 32_000)
#: Seconds that a worker may take to drain.
DRAIN_S = 20.0
#: Seconds that processes of a killed actor may take to give their ports free.
_FREE_S = 30.0
_LOOK_S = 0.1
#: Characters of an actor's number in the name of a folder.
_SHORT = 12


class Processes:
    """Services of one actor, in a folder of their own."""

    def __init__(self, keys: Mapping[str, str], name: str) -> None:
        """Write the key bundles; start nothing. `name` and the actor's number are the name of the logs' folder."""
        self.folder = Path(tempfile.mkdtemp(prefix="penstock-ray-"))
        actor = ray.get_runtime_context().get_actor_id()[:_SHORT]
        self.logs = session_folder() / "logs" / "penstock" / f"{name}-{actor}"
        make_own_folder(self.logs)
        self.failure = ""
        for role, text in keys.items():
            with open_own(self.keys(role), "w", encoding="ascii") as file:
                file.write(text)
        self._supervisor = Supervisor(self._fail, self.logs, start_command)

    def keys(self, role: str) -> str:
        """Return the path of a role's bundle."""
        return str(self.folder / f"{role}.keys")

    def add(self, name: str, service: str, settings: Mapping[str, Any]) -> None:
        """Start a service with its keys."""
        common = {"keys": self.keys(service), "health": ""}
        self._supervisor.add(name, service_command(service, {**common, **settings}))

    def drain(self) -> None:
        """Let all services finish what they have begun, and end; return when they have."""
        self._supervisor.drain(DRAIN_S)

    def stop(self) -> None:
        """End all services, and remove the folder; the logs stay."""
        self._supervisor.stop(first="sink")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _fail(self, name: str, why: str) -> None:
        self.failure = f"{name} {why}"


def wait_until_free(address: str) -> None:
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
