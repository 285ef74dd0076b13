"""The command line that starts a service with given settings."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from penstock.launcher.addresses import Addresses
from penstock.protocol.transport.addresses import on_host

#: The name of the ventilator that waits for the end of the other one.
STANDBY = "ventilator-1"


def service_command(service: str, settings: Mapping[str, Any]) -> list[str]:
    """Return the command of a service: a flag for each setting, repeated for each entry of a mapping or a list."""
    # -P: the working folder is not on the path of imports; it may hold a random.py.
    command = [sys.executable, "-P", "-m", f"penstock.{service}"]
    for option, value in settings.items():
        flag = option.replace("_", "-")
        if isinstance(value, bool):
            command.append(f"--{'' if value else 'no-'}{flag}")
        else:  # in one word with its flag, a value may begin with a dash
            command += [f"--{flag}={each}" for each in _words(value)]
    return command


def is_service_command(command: Sequence[str]) -> bool:
    """Return whether this is a `service_command`."""
    return list(command[1:3]) == ["-P", "-m"] and command[3].startswith("penstock.")


def service_of(command: Sequence[str]) -> tuple[str, list[str]]:
    """Return the service and the flags of a `service_command`."""
    _, _, _, module, *flags = command
    return module.removeprefix("penstock."), flags


def settings_of_services(
    addresses: Addresses,
    common: Mapping[str, Any],
    own: Mapping[str, Mapping[str, Any]],
    options: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """Return the settings of each service of a stack: what all have in `common`, addresses, its own, `options`.

    `own` and `options` may name further processes, such as `sink-1`: those have the service's settings and their own.
    """
    both = ",".join([addresses.ventilator, *([addresses.standby] if STANDBY in own else [])])
    meeting = {
        "ventilator": {"bind": addresses.ventilator},
        "sink": {"ventilator": both, "results": addresses.results, "bind": addresses.trainers},
        # No roots: a worker that is given any is confined to them, and those of the ventilator are this host's.
        "worker": {"ventilator": both},
    }
    services = {name: {**common, **met, **own.get(name, {}), **options.get(name, {})} for name, met in meeting.items()}
    others = {
        name: {**services[name.partition("-")[0]], **given, **options.get(name, {})}
        for name, given in own.items()
        if name not in meeting
    }
    return services | others


def services_for_all(ventilator: str, results: str, trainers: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the addresses among the settings of ventilator and sink, which other nodes of a cluster reach at these."""
    sink = {"ventilator": ventilator, "results": on_host(results, "*"), "advertise": results}
    return {"bind": on_host(ventilator, "*")}, sink | {"bind": on_host(trainers, "*")}


def _words(value: object) -> list[str]:
    if isinstance(value, Mapping):
        return [f"{key}={each}" for key, each in value.items()]
    return [str(each) for each in value] if isinstance(value, list | tuple) else [str(value)]
