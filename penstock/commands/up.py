"""`penstock up`: runs a supervised stack on this machine, in the foreground, for trainers to connect to."""

import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

from pydantic import Field
from pydantic_settings import CliPositionalArg

from penstock.launcher.addresses import Addresses
from penstock.launcher.arguments import cache_options
from penstock.launcher.dashboard_options import DashboardOptions, is_installed
from penstock.launcher.stack import LocalStack
from penstock.protocol.runtime.printable import say
from penstock.protocol.runtime.service import run
from penstock.protocol.runtime.settings import Settings
from penstock.protocol.transport.own_sockets import OWN_RESULTS, OWN_TRAINERS, OWN_VENTILATOR, Address, resolve
from penstock.terminal.interrupts import Interrupts
from penstock.terminal.spinner import waiting
from penstock.terminal.words import several

#: How often the stack's state is checked (s).
_LOOK_S = 0.2


class UpSettings(Settings):
    """Runs ventilator, sink and workers on this machine until Ctrl-C."""

    spec: CliPositionalArg[str]
    """Path of the spec (TOML)."""
    workers: int | str | None = None
    """Number of worker processes; `auto`: as many as are needed, from one to one per core; 2-8: between these bounds;
    default: one per core."""
    sinks: int = Field(default=1, ge=1, le=64)
    """Number of sinks that share the streams; each serves the trainers that connect to it."""
    standby: bool = False
    """Start a second ventilator, which takes over when the first one ends or hangs; it listens ten ports higher, and
    so does its dashboard."""
    root: dict[str, str] = Field(default_factory=dict)
    """NAME=FOLDER: the folder of one of the spec's roots on this host. May be given several times."""
    run_dir: str | None = None
    """Folder for logs and the quarantine ledger; default: logs go to the terminal."""
    ventilator: Address = OWN_VENTILATOR
    """Address for workers."""
    results: Address = OWN_RESULTS
    """Address for results; of several sinks, the first one's: each further one has its ports two above the last."""
    trainers: Address = OWN_TRAINERS
    """Address for trainers, which they pass to `penstock.connect`; of several sinks, the first one's."""
    keys: str = ""
    """Key folder, made by `penstock keys init`; trainers need it too."""
    insecure: bool = False
    """Allow other hosts to connect without keys; use it only on a network where every host is trusted."""
    trace: str = ""
    """Directory for task traces, to be read by `penstock trace`; empty: no traces."""
    trace_every: int = Field(default=1, ge=1)
    """Trace one task in this many."""
    cache: str = ""
    """Folder for decoded images of streams with `cache`: on a local disk, or /dev/shm; default: penstock in the user's
    cache folder."""
    dashboard: str = "auto"
    """host:port of the dashboard; `auto`: 127.0.0.1:5550, or another port if that is taken; empty: none."""
    dashboard_token_file: str = ""
    """File with the token that the dashboard asks for, made if it is missing; default: one in the run folder, for a
    dashboard beyond loopback."""
    dashboard_hosts: list[str] = Field(default_factory=list)
    """Further names by which browsers may call the dashboard's host, such as that of a proxy."""


def serve(settings: UpSettings) -> int:
    """Run the stack until SIGINT or SIGTERM; return the exit status."""
    interrupts = Interrupts()
    stack = LocalStack(
        settings.spec,
        workers=settings.workers,
        sinks=settings.sinks,
        standby=settings.standby,
        roots=settings.root,
        run_dir=settings.run_dir,
        addresses=Addresses(settings.ventilator, settings.results, settings.trainers),
        options=_options(settings),
        inherit_logs=settings.run_dir is None,
        keys=settings.keys,
        warn=_warn if settings.run_dir else lambda _: None,  # else the ventilator's log says it here
        dashboard=DashboardOptions(settings.dashboard, settings.dashboard_token_file, settings.dashboard_hosts),
    )
    with suppress(KeyboardInterrupt), ExitStack() as cleanup, interrupts.armed():
        with waiting("the ventilator lists the sources") if settings.run_dir else nullcontext():  # else its log is here
            cleanup.enter_context(stack)
        say(f"penstock up: {several(stack.workers, 'worker')}; trainers call {_calls(stack, settings)}; Ctrl-C stops")
        say(f"penstock up: {_where_to_look(stack, settings)}")
        while stack.error is None and interrupts.seen is None:  # what a signal raises, other code may catch
            time.sleep(_LOOK_S)
        if stack.error:
            raise stack.error
    return 0


def _calls(stack: LocalStack, settings: UpSettings) -> str:
    """Return how trainers connect, to each of several sinks."""
    if settings.sinks > 1:
        each = [stack.addresses.of_sink(number).trainers for number in range(settings.sinks)]
        return " or ".join(f"penstock.connect({address!r})" for address in each)
    return (
        "penstock.connect()" if settings.trainers == resolve(OWN_TRAINERS) else f"penstock.connect({stack.address!r})"
    )


def _warn(text: str) -> None:
    say(f"penstock up: warning: {text}")


def _options(settings: UpSettings) -> dict[str, dict[str, Any]]:
    """Return the services' options other than addresses."""
    traced = {"trace": settings.trace, "trace_every": settings.trace_every} if settings.trace else {}
    listening = {"insecure": settings.insecure, **traced}
    return {"ventilator": listening, "sink": listening, "worker": traced | cache_options(settings.cache or None)}


def _where_to_look(stack: LocalStack, settings: UpSettings) -> str:
    address = "" if settings.ventilator == resolve(OWN_VENTILATOR) else f" {settings.ventilator}"
    if settings.standby and address:
        address += f",{stack.addresses.standby}"
    command = f"penstock status{address}" + (f" --keys {settings.keys}" if settings.keys else "")
    if stack.dashboard:
        return f"dashboard at {' or '.join(stack.dashboards)}; on a terminal: {command}"
    hint = "" if is_installed() else "; a page in the browser needs pip install 'penstock[dashboard]'"
    return f"to see how it goes: {command}{hint}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `penstock up`."""
    return run(UpSettings, serve, "up", arguments)


if __name__ == "__main__":
    sys.exit(main())
