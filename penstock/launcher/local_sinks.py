"""The sinks of a stack on this machine: one without a name, or several named ones, and which of them serves a rank."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from penstock.launcher.addresses import Addresses
from penstock.protocol.errors import SpecError

#: More sinks than that on one machine are a mistake.
_MOST = 64


def check_sinks(sinks: object) -> int:
    """Return the number of sinks. Raises SpecError for what is none."""
    if isinstance(sinks, bool) or not isinstance(sinks, int) or not 1 <= sinks <= _MOST:
        raise SpecError(f"sinks = {sinks!r}: give a whole number from 1 to {_MOST}; 1 serves all ranks of a machine")
    return sinks


def sink_names(sinks: int) -> list[str]:
    """Return the names of the processes: `sink`, or `sink-0`, `sink-1` and so on, which are the sinks' names too."""
    return ["sink"] if sinks == 1 else [f"sink-{number}" for number in range(sinks)]


def sink_settings(sinks: int, addresses: Addresses, quarantine: Path) -> Mapping[str, Mapping[str, Any]]:
    """Return the settings that each sink has for itself, by the names of the processes."""
    found: dict[str, Mapping[str, Any]] = {"sink": {"quarantine": str(quarantine)}}
    if sinks == 1:
        return found
    for number, name in enumerate(sink_names(sinks)):
        own = addresses.of_sink(number)
        ledger = quarantine.with_name(f"{quarantine.stem}-{number}{quarantine.suffix}") if number else quarantine
        found[name] = {"name": name, "results": own.results, "bind": own.trainers, "quarantine": str(ledger)}
    return found


def sink_of_rank(rank: int, world_size: int, sinks: int) -> int:
    """Return the number of the sink that serves a rank: ranks that follow each other share one."""
    return rank * sinks // world_size
