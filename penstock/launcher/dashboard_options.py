"""Chooses the dashboard's port and token for a stack on this machine.

Both stay the same when the ventilator restarts. `ventilator/dashboard/` serves the page.
"""

import importlib.util
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from penstock.protocol.errors import SpecError
from penstock.protocol.transport.addresses import is_local
from penstock.ventilator.dashboard.access import page_url, read_token

#: Port of the dashboard for `auto`, if it is free.
AUTO_HOST, AUTO_PORT = "127.0.0.1", 5550


@dataclass(frozen=True, slots=True)
class DashboardOptions:
    """A user's options for the dashboard."""

    #: host:port; "auto"; empty: none.
    address: str = ""
    #: File of the token; empty: one in the run folder, where one is needed.
    token_file: str = ""
    #: Further names of the dashboard's host.
    hosts: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class DashboardPlan:
    """The resulting settings of the ventilator, and the address for browsers; both are empty without a page."""

    settings: dict[str, object]
    url: str


def lay_out(options: DashboardOptions, run_dir: Path, above: Sequence[int] = (0,)) -> list[DashboardPlan]:
    """Choose ports that stay, and make the token. Raises SpecError.

    Each page, that of a standby for instance, is so many ports `above` the one that was asked for.
    """
    return [_lay_out(options, run_dir, ports) for ports in above]


def _lay_out(options: DashboardOptions, run_dir: Path, above: int) -> DashboardPlan:
    if not options.address or (options.address == "auto" and not is_installed()):
        return DashboardPlan({}, "")
    address = f"{AUTO_HOST}:{_free(AUTO_HOST, AUTO_PORT + above)}" if options.address == "auto" else options.address
    host, _, port = address.rpartition(":")
    if port == "0":  # a ventilator that starts again must be found where it was
        address = f"{host}:{_free(host.strip('[]'), 0)}"
    elif options.address != "auto" and port.isdecimal():
        address = f"{host}:{int(port) + above}"
    file, token = options.token_file, ""
    if not file and not is_local(f"tcp://{address}"):
        file = str(run_dir.absolute() / "dashboard.token")
    if file:
        token = read_token(Path(file))
    settings: dict[str, object] = {"dashboard": address, "dashboard_token_file": file}
    settings["dashboard_hosts"] = list(options.hosts)
    return DashboardPlan(settings, page_url(address, int(address.rpartition(":")[2]) if port.isdecimal() else 0, token))


def is_installed() -> bool:
    """Return whether the extra `dashboard` is."""
    return all(importlib.util.find_spec(name) for name in ("starlette", "uvicorn"))


def _free(host: str, port: int) -> int:
    """Return `port`, or a free one if it is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in (port, 0):
        with socket.socket(family, socket.SOCK_STREAM) as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("" if host == "*" else host, wanted))
            found: int = probe.getsockname()[1]
            return found
    raise SpecError(f"dashboard {host!r}: no port of that host can be bound here; give an address of this machine")
