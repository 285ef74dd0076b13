"""The sink of one node of a Slurm job: where it is, and what it is told. Its node's ranks reach it over loopback."""

import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from penstock.launcher.addresses import HeldPorts
from penstock.launcher.service_command import services_for_all
from penstock.launcher.slurm import commands
from penstock.launcher.slurm.plan import JobPlan, NodeSink, RunFolder
from penstock.protocol.errors import SpecError
from penstock.protocol.transport.own_files import make_own_folder

#: Seconds that the sink of a killed step may take to give its ports free, and how often to look.
_FREE_S, _LOOK_S = 10.0, 0.1


def place_sink(folder: RunFolder, plan: JobPlan, node: str, ventilator: str) -> tuple[NodeSink, HeldPorts | None]:
    """Write down where the sink of this node is to be; return it, and what holds its ports for it until it is closed.

    A step that starts again finds it as it was. Raises StackError if no ports are free.
    """
    path = folder.sink(node)
    with suppress(SpecError):  # the file of an earlier version, or none
        known = NodeSink.read(path)
        if known.ventilator == ventilator and _become_free((known.results, known.trainers)):
            return known, None
    ports = plan.hold_ports(2)
    for_results, for_trainers = ports.numbers
    results, trainers = f"tcp://{commands.node_address(node)}:{for_results}", f"tcp://127.0.0.1:{for_trainers}"
    placed = NodeSink(ventilator=ventilator, results=results, trainers=trainers)
    make_own_folder(folder.sinks)
    placed.write(path)
    return placed, ports


def sink_settings(folder: RunFolder, placed: NodeSink, node: str, *, first: bool) -> dict[str, Any]:
    """Return the settings of the sink of a node; that of the job's first node keeps the job's ledger."""
    _, sink = services_for_all(placed.ventilator, placed.results, placed.trainers)
    quarantine = folder.quarantine if first else folder.quarantine.with_name(f"quarantine-{node}.jsonl")
    own = {"name": node, "bind": placed.trainers, "quarantine": str(quarantine)}
    return sink | own | {"keys": str(folder.keys), "health": ""}


def _become_free(addresses: Iterable[str]) -> bool:
    """Return whether ports can be bound, if need be once a sink that was left behind is gone.

    Ranks that run already look for the sink there, and nowhere else.
    """
    deadline, taken = time.monotonic() + _FREE_S, list(addresses)
    while taken := [address for address in taken if not _is_free(address)]:
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_S)
    return True


def _is_free(address: str) -> bool:
    with suppress(OSError), socket.create_server(("", int(address.rpartition(":")[2]))):
        return True
    return False
